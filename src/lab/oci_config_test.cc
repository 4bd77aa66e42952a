#include "lab/oci_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "lab/report_file.h"
#include "os/fd.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class BundleTest : public testing::Test {
  protected:
    BundleTest() {
        std::string name = "/tmp/ferry-bundle-XXXXXX";
        if (::mkdtemp(name.data()) != nullptr) bundle_ = name;
        fs::create_directory(bundle_ + "/rootfs");
    }
    ~BundleTest() override { fs::remove_all(bundle_); }

    void expect_refused(const std::string& why) {
        const auto config = read_config(bundle_);
        ASSERT_FALSE(config);
        EXPECT_EQ(config.error().kind(), Error::Kind::Invalid);
        EXPECT_THAT(config.error().message(), HasSubstr(bundle_));
        EXPECT_THAT(config.error().message(), HasSubstr(why));
    }
    std::string bundle_;
};

TEST_F(BundleTest, TheSitesOwnIsRead) {
    ASSERT_TRUE(write_report(bundle_ + "/config.json", site_config()));
    const auto config = read_config(bundle_);
    ASSERT_TRUE(config) << config.error().describe();
    EXPECT_EQ(*config, site_config());
}

TEST_F(BundleTest, WhatIsNoBundleIsNamed) {
    expect_refused("config.json");
    for (const char* text : {"", "{", "[]", "{}", R"({"process": {}})"}) {
        ASSERT_TRUE(os::write_file(os::kCwd, bundle_ + "/config.json", text)) << text;
        expect_refused("config.json");
    }
}

TEST_F(BundleTest, ARootThatIsNotThereIsNamed) {
    for (const char* root : {R"("rootfs")", R"({})", R"({"path": 7})", R"({"path": "other"})"}) {
        nlohmann::json config = site_config();
        config["root"] = nlohmann::json::parse(root);
        ASSERT_TRUE(write_report(bundle_ + "/config.json", config));
        expect_refused(root == std::string(R"({"path": "other"})") ? "/other" : bundle_.c_str());
    }
}

TEST(OciConfig, LimitsAreSetAndOthersLeftAlone) {
    nlohmann::json config = site_config();
    set_limits(config, {});
    EXPECT_EQ(config, site_config());
    set_limits(config, {.cgroups_path = "a", .memory_bytes = 7, .processes = 9});
    EXPECT_EQ(config["linux"]["cgroupsPath"], "a");
    EXPECT_EQ(config["linux"]["resources"]["memory"]["limit"], 7);
    EXPECT_EQ(config["linux"]["resources"]["pids"]["limit"], 9);
    EXPECT_TRUE(config["linux"]["resources"].contains("devices"));
}

}  // namespace
}  // namespace ferry::lab
