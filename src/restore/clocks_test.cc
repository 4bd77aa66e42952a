#include "restore/clocks.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "os/fd.h"
#include "resources/clocks.h"

namespace ferry::restore {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000, kDay = 86400 * kSecond;

class Offsets : public testing::Test {
  protected:
    // A tree that sees our clocks, on this boot, at this moment.
    void SetUp() override {
        const auto boot_id = os::read_file("/proc/sys/kernel/random/boot_id");
        const auto now = resources::clocks_now();
        const auto ours = resources::clock_offsets_of(Pid{::getpid()});
        ASSERT_TRUE(boot_id && now && ours);
        tree_.boot_id = boot_id->substr(0, boot_id->find('\n'));
        tree_.clocks = {.seen = *now, .offsets = *ours, .own_namespace = false};
        ours_ = *ours;
    }
    [[nodiscard]] std::optional<model::ClockOffsets> wanted(
        const std::optional<model::ClockTimes>& before) const {
        const auto offsets = offsets_for(tree_, before);
        EXPECT_TRUE(offsets.has_value());
        return offsets.value_or(std::nullopt);
    }
    void move_tree(std::int64_t by) {
        tree_.clocks.seen = resources::seen_through(tree_.clocks.seen, {}, {by, by});
    }

    model::Checkpoint tree_;
    model::ClockOffsets ours_;
};

TEST_F(Offsets, NoneAreNeededOnTheSameBoot) {
    EXPECT_EQ(wanted(std::nullopt), std::nullopt);
    EXPECT_EQ(wanted(tree_.clocks.seen), std::nullopt);
}

TEST_F(Offsets, AreTheSameOnTheSameBoot) {
    tree_.clocks.offsets.monotonic_ns += kDay;
    tree_.clocks.offsets.boottime_ns += kDay;
    move_tree(kDay);
    EXPECT_EQ(wanted(std::nullopt), tree_.clocks.offsets);
}

TEST_F(Offsets, AreExactOnAnotherBootWhereOurClocksThenAreKnown) {
    const model::ClockTimes before = tree_.clocks.seen;
    tree_.boot_id = "another";
    move_tree(kDay);
    const model::ClockOffsets later = {ours_.monotonic_ns + kDay, ours_.boottime_ns + kDay};
    EXPECT_EQ(wanted(before), later);
}

TEST_F(Offsets, LetTheClocksGoOnFromTheirDumpOnAnotherBoot) {
    tree_.boot_id = "";  // CRIU's images do not say
    move_tree(kDay);
    const auto offsets = wanted(std::nullopt);
    ASSERT_TRUE(offsets.has_value());
    EXPECT_LE(offsets->monotonic_ns, ours_.monotonic_ns + kDay);
    EXPECT_GT(offsets->monotonic_ns, ours_.monotonic_ns);
}

TEST_F(Offsets, AreNeededBetweenMachinesThatShareABootId) {
    const model::ClockTimes before = tree_.clocks.seen;
    for (const std::int64_t by : {kDay, -kSecond}) {
        tree_.clocks.seen = before;
        move_tree(by);
        const model::ClockOffsets moved = {ours_.monotonic_ns + by, ours_.boottime_ns + by};
        EXPECT_EQ(wanted(before), moved);
    }
}

TEST_F(Offsets, AreUnknownWhereTheClocksAre) {
    tree_.clocks = {};
    EXPECT_EQ(wanted(std::nullopt), std::nullopt);
}

}  // namespace
}  // namespace ferry::restore
