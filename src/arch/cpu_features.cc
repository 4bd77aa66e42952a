#include "arch/cpu_features.h"

#include <cpuid.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace ferry::arch {
namespace {

enum class Output : std::uint8_t { Eax, Ebx, Ecx, Edx };

struct Feature {
    const char* name;
    std::uint32_t leaf, subleaf;
    Output output;
    unsigned bit;
};

constexpr std::uint32_t kExtended = 0x80000001;
constexpr std::uint32_t kXsave = 0xd;

constexpr std::array kFeatures = {
    Feature{"cx8", 1, 0, Output::Edx, 8},
    Feature{"cmov", 1, 0, Output::Edx, 15},
    Feature{"mmx", 1, 0, Output::Edx, 23},
    Feature{"fxsr", 1, 0, Output::Edx, 24},
    Feature{"sse", 1, 0, Output::Edx, 25},
    Feature{"sse2", 1, 0, Output::Edx, 26},
    Feature{"pni", 1, 0, Output::Ecx, 0},
    Feature{"pclmulqdq", 1, 0, Output::Ecx, 1},
    Feature{"ssse3", 1, 0, Output::Ecx, 9},
    Feature{"fma", 1, 0, Output::Ecx, 12},
    Feature{"cx16", 1, 0, Output::Ecx, 13},
    Feature{"sse4_1", 1, 0, Output::Ecx, 19},
    Feature{"sse4_2", 1, 0, Output::Ecx, 20},
    Feature{"movbe", 1, 0, Output::Ecx, 22},
    Feature{"popcnt", 1, 0, Output::Ecx, 23},
    Feature{"aes", 1, 0, Output::Ecx, 25},
    Feature{"xsave", 1, 0, Output::Ecx, 27},
    Feature{"avx", 1, 0, Output::Ecx, 28},
    Feature{"f16c", 1, 0, Output::Ecx, 29},
    Feature{"rdrand", 1, 0, Output::Ecx, 30},
    Feature{"fsgsbase", 7, 0, Output::Ebx, 0},
    Feature{"bmi1", 7, 0, Output::Ebx, 3},
    Feature{"hle", 7, 0, Output::Ebx, 4},
    Feature{"avx2", 7, 0, Output::Ebx, 5},
    Feature{"bmi2", 7, 0, Output::Ebx, 8},
    Feature{"rtm", 7, 0, Output::Ebx, 11},
    Feature{"avx512f", 7, 0, Output::Ebx, 16},
    Feature{"avx512dq", 7, 0, Output::Ebx, 17},
    Feature{"rdseed", 7, 0, Output::Ebx, 18},
    Feature{"adx", 7, 0, Output::Ebx, 19},
    Feature{"avx512ifma", 7, 0, Output::Ebx, 21},
    Feature{"clflushopt", 7, 0, Output::Ebx, 23},
    Feature{"clwb", 7, 0, Output::Ebx, 24},
    Feature{"avx512cd", 7, 0, Output::Ebx, 28},
    Feature{"sha_ni", 7, 0, Output::Ebx, 29},
    Feature{"avx512bw", 7, 0, Output::Ebx, 30},
    Feature{"avx512vl", 7, 0, Output::Ebx, 31},
    Feature{"avx512vbmi", 7, 0, Output::Ecx, 1},
    Feature{"ospke", 7, 0, Output::Ecx, 4},
    Feature{"waitpkg", 7, 0, Output::Ecx, 5},
    Feature{"avx512_vbmi2", 7, 0, Output::Ecx, 6},
    Feature{"gfni", 7, 0, Output::Ecx, 8},
    Feature{"vaes", 7, 0, Output::Ecx, 9},
    Feature{"vpclmulqdq", 7, 0, Output::Ecx, 10},
    Feature{"avx512_vnni", 7, 0, Output::Ecx, 11},
    Feature{"avx512_bitalg", 7, 0, Output::Ecx, 12},
    Feature{"avx512_vpopcntdq", 7, 0, Output::Ecx, 14},
    Feature{"rdpid", 7, 0, Output::Ecx, 22},
    Feature{"cldemote", 7, 0, Output::Ecx, 25},
    Feature{"movdiri", 7, 0, Output::Ecx, 27},
    Feature{"movdir64b", 7, 0, Output::Ecx, 28},
    Feature{"avx512_vp2intersect", 7, 0, Output::Edx, 8},
    Feature{"serialize", 7, 0, Output::Edx, 14},
    Feature{"amx_bf16", 7, 0, Output::Edx, 22},
    Feature{"avx512_fp16", 7, 0, Output::Edx, 23},
    Feature{"amx_tile", 7, 0, Output::Edx, 24},
    Feature{"amx_int8", 7, 0, Output::Edx, 25},
    Feature{"avx_vnni", 7, 1, Output::Eax, 4},
    Feature{"avx512_bf16", 7, 1, Output::Eax, 5},
    Feature{"avx_ifma", 7, 1, Output::Eax, 23},
    Feature{"xsaveopt", kXsave, 1, Output::Eax, 0},
    Feature{"xsavec", kXsave, 1, Output::Eax, 1},
    Feature{"xgetbv1", kXsave, 1, Output::Eax, 2},
    Feature{"lahf_lm", kExtended, 0, Output::Ecx, 0},
    Feature{"abm", kExtended, 0, Output::Ecx, 5},
    Feature{"sse4a", kExtended, 0, Output::Ecx, 6},
    Feature{"3dnowprefetch", kExtended, 0, Output::Ecx, 8},
    Feature{"xop", kExtended, 0, Output::Ecx, 11},
    Feature{"fma4", kExtended, 0, Output::Ecx, 16},
    Feature{"tbm", kExtended, 0, Output::Ecx, 21},
    Feature{"mwaitx", kExtended, 0, Output::Ecx, 29},
    Feature{"rdtscp", kExtended, 0, Output::Edx, 27},
};

bool has(const Feature& feature) {
    std::array<unsigned, 4> words = {};
    if (__get_cpuid_count(feature.leaf, feature.subleaf, &words[0], &words[1], &words[2],
                          &words[3]) == 0) {
        return false;
    }
    return (words.at(static_cast<std::size_t>(feature.output)) >> feature.bit & 1) != 0;
}

}  // namespace

std::vector<std::string> cpu_features() {
    std::vector<std::string> names;
    for (const Feature& feature : kFeatures) {
        if (has(feature)) names.emplace_back(feature.name);
    }
    return names;
}

std::vector<std::string> missing_features(std::span<const std::string> wanted,
                                          std::span<const std::string> offered) {
    std::vector<std::string> missing;
    for (const std::string& name : wanted) {
        if (std::ranges::find(offered, name) == offered.end()) missing.push_back(name);
    }
    return missing;
}

}  // namespace ferry::arch
