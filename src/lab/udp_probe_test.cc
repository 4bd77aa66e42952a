#include "lab/udp_probe.h"

#include <gtest/gtest.h>

namespace ferry::lab {
namespace {

using namespace std::chrono_literals;

const Moment kBegin = Moment() + 1000s;

// Sent every 10 ms; a negative delay: no echo.
std::vector<UdpPacket> packets(const std::vector<double>& delays_ms) {
    std::vector<UdpPacket> all;
    for (const double delay : delays_ms) {
        const auto number = static_cast<std::int64_t>(all.size());
        all.push_back({.sent = kBegin + number * 10ms, .delay_ms = delay});
    }
    return all;
}

TEST(UdpSummary, DelayLossAndGap) {
    const UdpResult result = summarise(packets({2, 4, -1, 6}), kBegin, kBegin + 40ms);
    EXPECT_EQ(result.sent, 4u);
    EXPECT_EQ(result.received, 3u);
    EXPECT_EQ(result.lost(), 1u);
    EXPECT_DOUBLE_EQ(result.loss(), 0.25);
    EXPECT_DOUBLE_EQ(result.mean_delay_ms, 4);
    EXPECT_NEAR(result.longest_gap_ms, 22, 1e-6);
    EXPECT_EQ(result.delays.count(), 3u);
    EXPECT_EQ(result.duplicates + result.reordered, 0u);
}

TEST(UdpSummary, JitterFollowsTheRfc) {
    // The second takes 16 ms more: J = 16/16; the third as long as the second: J = 1 - 1/16.
    const UdpResult result = summarise(packets({1, 17, 17}), kBegin, kBegin + 1s);
    EXPECT_DOUBLE_EQ(result.longest_jitter_ms, 1);
    EXPECT_DOUBLE_EQ(result.jitter_ms, 1 - 1.0 / 16);
}

TEST(UdpSummary, DuplicatesAndStragglers) {
    // The first comes after the second and before the third.
    auto some = packets({15, 1, 1});
    some[1].duplicates = 2;
    const UdpResult result = summarise(some, kBegin, kBegin + 1s);
    EXPECT_EQ(result.received, 3u);
    EXPECT_EQ(result.duplicates, 2u);
    EXPECT_EQ(result.reordered, 1u);
}

TEST(UdpSummary, DatagramsBelongToTheSpanInWhichTheyWereSent) {
    const UdpResult result = summarise(packets({1, 25, 1, 1}), kBegin + 10ms, kBegin + 30ms);
    EXPECT_EQ(result.sent, 2u);
    EXPECT_EQ(result.received, 2u);
    EXPECT_EQ(result.packets.front().sent, kBegin + 10ms);
    EXPECT_EQ(summarise({}, kBegin, kBegin + 1s).sent, 0u);
}

}  // namespace
}  // namespace ferry::lab
