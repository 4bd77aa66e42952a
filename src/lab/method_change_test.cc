#include <gtest/gtest.h>

#include "lab/dirty_run.h"

namespace ferry::lab {
namespace {

constexpr std::uint64_t kMib = 1 << 20;

migrate::Round round_of(int number, std::uint64_t sent, std::uint64_t dirty, double throttle) {
    const double bandwidth = 100.0 * kMib;
    migrate::Round round;
    round.number = number;
    round.bytes = sent * kMib;
    round.dirty_bytes = dirty * kMib;
    round.milliseconds = static_cast<double>(sent) * 10;
    round.bandwidth = bandwidth;
    round.expected_downtime_ms = 8 + static_cast<double>(dirty) * 10;
    round.throttle = throttle;
    return round;
}

migrate::Report beaten() {
    migrate::Report report;
    report.memory_before = 300 * kMib;
    report.max_downtime_ms = 50;
    report.stop_rule = "another round would not help";
    report.rounds = {round_of(1, 200, 190, 0), round_of(2, 190, 195, 0)};
    // The last pass and the freeze: nobody looks at what is written after them.
    for (const bool in_freeze : {false, true}) {
        migrate::Round pass;
        pass.number = static_cast<int>(report.rounds.size()) + 1;
        pass.bytes = 150 * kMib;
        pass.milliseconds = 1500;
        pass.in_freeze = in_freeze;
        report.rounds.push_back(pass);
    }
    return report;
}

TEST(MethodChange, IsTheStopAndCopyThatDoesNotFitAndWhatEveryMethodWouldHaveCost) {
    const auto change = method_change(beaten(), 1'000'000'000);
    ASSERT_TRUE(change);
    EXPECT_EQ(change->after_round, 2);
    EXPECT_EQ(change->at_ns, 1'000'000'000 + 3'900'000'000);
    EXPECT_EQ(change->to, "stop-and-copy");
    EXPECT_NE(change->reason.find("another round would not help"), std::string::npos);
    ASSERT_EQ(change->estimates.size(), 5u);
    EXPECT_DOUBLE_EQ(*change->estimates[0].frozen_ms, 8 + 1950);
    EXPECT_DOUBLE_EQ(*change->estimates[0].total_ms, 3900 + 8 + 1950);
    EXPECT_EQ(change->estimates[0].wire_bytes, (200 + 190 + 195) * kMib);
    EXPECT_EQ(change->estimates[1].frozen_ms, std::nullopt);  // it does not end
    EXPECT_DOUBLE_EQ(*change->estimates[3].frozen_ms, 8 + 3000);
}

TEST(MethodChange, IsTheRoundAfterWhichTheServiceWasSlowedDown) {
    migrate::Report report = beaten();
    report.rounds.insert(report.rounds.begin() + 2, round_of(3, 195, 3, 0.6));
    report.fits_downtime = true;
    const auto change = method_change(report, 0);
    ASSERT_TRUE(change);
    EXPECT_EQ(change->after_round, 2);
    EXPECT_NE(change->to.find("60 %"), std::string::npos) << change->to;
}

TEST(MethodChange, IsNoneWherePreCopyWon) {
    migrate::Report report = beaten();
    report.fits_downtime = true;
    EXPECT_EQ(method_change(report, 0), std::nullopt);
    EXPECT_EQ(method_change({}, 0), std::nullopt);
}

}  // namespace
}  // namespace ferry::lab
