#include "features/features.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace ferry::features {
namespace {

TEST(Features, EveryNameIsProbedOnceAndHasAPurpose) {
    const auto features = probe();
    std::set<std::string> seen;
    for (const Feature& feature : features.all()) {
        EXPECT_TRUE(seen.insert(feature.name).second) << feature.name;
        EXPECT_FALSE(feature.purpose.empty()) << feature.name;
        EXPECT_EQ(feature.available, feature.reason.empty()) << feature.name;
    }
    EXPECT_EQ(seen.size(), names().size());
}

TEST(Features, ProbingOneGivesTheSameAnswerAsProbingAll) {
    const auto features = probe();
    for (const char* name : {"kcmp", "mnt_id", "timerfd", "has_ipt_legacy", "soft_dirty"}) {
        const auto one = probe_one(name);
        ASSERT_TRUE(one) << name;
        EXPECT_EQ(one->available, features.has(name)) << name;
    }
}

TEST(Features, AnUnknownNameIsRefused) {
    const auto one = probe_one("antigravity");
    ASSERT_FALSE(one);
    EXPECT_EQ(one.error().kind(), Error::Kind::Invalid);
}

TEST(Features, ReadinessAsksOnlyForWhatIsNeeded) {
    const KernelFeatures features(
        {{.name = "a", .purpose = "", .need = Need::Always, .available = true},
         {.name = "b", .purpose = "", .need = Need::Live, .available = false},
         {.name = "c", .purpose = "", .need = Need::Some, .available = false}});
    EXPECT_TRUE(features.ready_for(Need::Always));
    EXPECT_FALSE(features.ready_for(Need::Live));
    EXPECT_FALSE(features.has("d"));
}

TEST(Features, TheTableNamesEachFeatureWithTheReasonOfItsAbsence) {
    const KernelFeatures features(
        {{.name = "warp", .purpose = "fast ships", .available = false, .reason = "no dilithium"}});
    EXPECT_THAT(to_table(features), testing::ContainsRegex("no +warp +some +fast ships"));
    EXPECT_THAT(to_table(features), testing::HasSubstr("no dilithium"));
}

}  // namespace
}  // namespace ferry::features
