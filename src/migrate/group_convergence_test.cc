#include "migrate/group_convergence.h"

#include <gtest/gtest.h>

namespace ferry::migrate {
namespace {

using pages::Decision;
using pages::Rule;
using pages::Seconds;

constexpr std::uint64_t kMiB = 1 << 20;

GroupConvergence group(std::size_t members, unsigned processors = 8) {
    return {{.max_downtime = Seconds{0.050}}, members, processors};
}

// Of a link of 100 MiB/s, of which this member has a share.
MemberRound round(std::uint64_t sent_mib, double share, std::uint64_t dirty_mib) {
    return {.bytes_sent = sent_mib * kMiB,
            .duration = Seconds{static_cast<double>(sent_mib) / (100 * share)},
            .bytes_dirty = dirty_mib * kMiB};
}

TEST(GroupConvergence, WhatFitsForEachDoesNotFitForAll) {
    for (const std::size_t members : {1u, 3u}) {
        auto all = group(members);
        for (std::size_t i = 0; i < members; ++i) {
            // One after the other, each with the whole link: 30 ms are left of each.
            all.add(i, round(200, 1, 3), Seconds{2.0 * static_cast<double>(i + 1)});
        }
        const Decision decision = all.decide();
        EXPECT_NEAR(decision.bandwidth, 100.0 * kMiB, kMiB);
        EXPECT_NEAR(decision.expected_downtime.count(), 0.030 * static_cast<double>(members), 1e-3);
        EXPECT_EQ(decision.fits, members == 1);
    }
}

TEST(GroupConvergence, MembersThatSendTogetherShowTheLinkTogether) {
    auto all = group(2);
    all.add(0, round(100, 0.5, 1), Seconds{2});
    all.add(1, round(100, 0.5, 1), Seconds{2});
    const Decision decision = all.decide();
    EXPECT_NEAR(decision.bandwidth, 100.0 * kMiB, kMiB);
    EXPECT_NEAR(decision.expected_downtime.count(), 0.020, 1e-3);
    EXPECT_TRUE(decision.fits);
}

TEST(GroupConvergence, AShortRoundDoesNotReplaceAMeasuredOne) {
    auto all = group(2);
    all.add(0, round(100, 1, 1), Seconds{1});
    all.add(1, round(100, 1, 1), Seconds{2});
    // A few pages, and mostly latencies.
    all.add(1, {.bytes_sent = 4096, .duration = Seconds{0.020}, .bytes_dirty = kMiB}, Seconds{3});
    EXPECT_NEAR(all.decide().bandwidth, 100.0 * kMiB, kMiB);
}

TEST(GroupConvergence, FewerProcessorsThanMembersTakeLonger) {
    for (const auto& [processors, expected] : {std::pair(1u, 0.030), std::pair(4u, 0.010)}) {
        auto all = group(3, processors);
        for (std::size_t i = 0; i < 3; ++i) all.add(i, {.fixed_cost = Seconds{0.010}}, Seconds{1});
        const Decision decision = all.decide();
        EXPECT_EQ(decision.rule, Rule::CleanNow);
        EXPECT_NEAR(decision.expected_downtime.count(), expected, 1e-6);
    }
}

TEST(GroupConvergence, GoesOnWhileItShrinksAndNoLonger) {
    auto all = group(2);
    double now = 2;
    all.add(0, round(100, 1, 40), Seconds{now});
    all.add(1, round(10, 1, 0), Seconds{now});
    EXPECT_TRUE(all.has_news());
    EXPECT_EQ(all.decide().rule, Rule::NotYet);
    EXPECT_FALSE(all.has_news());
    all.add(0, round(40, 1, 16), Seconds{now += 1});
    EXPECT_EQ(all.decide().rule, Rule::NotYet);
    Decision decision;
    for (int i = 0; i < 10 && !decision.stop; ++i) {
        all.add(0, round(16, 1, 16), Seconds{now += 1});
        decision = all.decide();
    }
    EXPECT_EQ(decision.rule, Rule::NotShrinking);
    EXPECT_FALSE(decision.fits);
    all.look_again();
    all.add(0, round(16, 1, 1), Seconds{now += 1});
    decision = all.decide();
    EXPECT_TRUE(decision.fits);
}

TEST(GroupConvergence, AddsUpWhatMembersWriteAndAsksWhoMayBeSlower) {
    auto all = group(2);
    all.add(0, {.dirty_rate = 10}, Seconds{1});
    all.add(1, {.dirty_rate = 5}, Seconds{1});
    EXPECT_DOUBLE_EQ(all.dirty_rate(), 15);
    EXPECT_FALSE(all.can_be_slower());
    all.add(1, {.dirty_rate = 2, .can_be_slower = true}, Seconds{2});
    EXPECT_DOUBLE_EQ(all.dirty_rate(), 12);
    EXPECT_TRUE(all.can_be_slower());
}

}  // namespace
}  // namespace ferry::migrate
