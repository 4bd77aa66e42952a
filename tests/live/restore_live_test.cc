// Victims that are taken apart and put together again by restore/ alone.
#include <gtest/gtest.h>

#include "snapshot.h"

namespace ferry::live {
namespace {

class Restored : public testing::TestWithParam<const char*> {};

TEST_P(Restored, TheVictimFindsEverythingAsItWas) {
    auto victim = Victim::start(GetParam());
    ASSERT_TRUE(victim.has_value()) << victim.error().describe();
    const auto snapshot = take_snapshot(victim->pid());
    ASSERT_TRUE(snapshot.has_value()) << snapshot.error().describe();
    const auto report = restore_snapshot(*snapshot);
    ASSERT_TRUE(report.has_value()) << report.error().describe();
    victim->let_run();
    EXPECT_EQ(victim->verdict(), "PASS");
}

INSTANTIATE_TEST_SUITE_P(EveryVictim, Restored,
                         testing::Values("fork_storm", "plain", "spinning_vectors", "thread_storm",
                                         "writer"),
                         [](const auto& instance) { return std::string(instance.param); });

}  // namespace
}  // namespace ferry::live
