#include "arch/cpu_features.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

namespace ferry::arch {
namespace {

std::set<std::string> kernels_flags() {
    std::ifstream file("/proc/cpuinfo");
    std::string line;
    while (std::getline(file, line) && !line.starts_with("flags")) {
    }
    std::istringstream words(line.substr(line.find(':') + 1));
    std::set<std::string> flags;
    for (std::string word; words >> word;) flags.insert(word);
    return flags;
}

// The kernel may hide what CPUID shows; it never shows what CPUID has not.
TEST(CpuFeatures, AreThoseOfTheKernelsList) {
    const std::set<std::string> flags = kernels_flags();
    const std::vector<std::string> features = cpu_features();
    EXPECT_GT(features.size(), 10u);
    std::size_t known = 0;
    for (const std::string& name : features) known += flags.count(name);
    EXPECT_GE(known + 4, features.size());
    for (const char* name :
         {"sse2", "avx2", "avx512f", "aes", "sha_ni", "xsavec", "rdtscp", "abm"}) {
        const bool ours = std::ranges::find(features, name) != features.end();
        EXPECT_EQ(ours, flags.contains(name)) << name;
    }
}

TEST(CpuFeatures, WhatIsMissingIsNamedInOrder) {
    const std::vector<std::string> wanted = {"sse2", "avx512f", "unheard_of", "aes"};
    const std::vector<std::string> offered = {"aes", "sse2"};
    EXPECT_EQ(missing_features(wanted, offered),
              (std::vector<std::string>{"avx512f", "unheard_of"}));
    EXPECT_TRUE(missing_features(offered, wanted).empty());
}

}  // namespace
}  // namespace ferry::arch
