#include "pages/convergence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace ferry::pages {
namespace {

constexpr double kMiB = 1 << 20;

// A service that writes pages at random places at `dirty_rate` bytes per second of page memory,
// within a working set; the copier moves `bandwidth` bytes per second.
struct Workload {
    double memory = 2048 * kMiB;
    double working_set = 2048 * kMiB;
    double dirty_rate = 0;
    double bandwidth = 1024 * kMiB;
    Seconds fixed_cost{0.020};
};

struct Outcome {
    Decision decision;
    unsigned rounds = 0;
    double bytes_sent = 0;
    double bytes_left = 0;
};

// Distinct pages hit by random writes: those not hit decay exponentially.
double dirtied(const Workload& load, double seconds) {
    return load.working_set * (1 - std::exp(-load.dirty_rate * seconds / load.working_set));
}

Outcome simulate(const Workload& load, ConvergenceLimits limits = {}) {
    Convergence convergence(limits);
    Outcome outcome;
    double to_send = load.memory;
    do {
        const double seconds = to_send / load.bandwidth;
        outcome.bytes_sent += to_send;
        outcome.bytes_left = dirtied(load, seconds);
        outcome.decision =
            convergence.after_round({.bytes_sent = static_cast<std::uint64_t>(to_send),
                                     .duration = Seconds{seconds},
                                     .bytes_dirty = static_cast<std::uint64_t>(outcome.bytes_left),
                                     .fixed_cost = load.fixed_cost});
        to_send = outcome.bytes_left;
        ++outcome.rounds;
        if (outcome.rounds > 1000) break;
    } while (!outcome.decision.stop);
    return outcome;
}

TEST(Convergence, AnIdleServiceNeedsOneRound) {
    const Outcome outcome = simulate({.dirty_rate = 0});
    EXPECT_EQ(outcome.rounds, 1u);
    EXPECT_EQ(outcome.decision.rule, Rule::CleanNow);
}

TEST(Convergence, ASlowWriterFitsAfterFewRoundsAndTheFreezeIsShort) {
    // 40 MiB/s of dirty pages: the load of 5,000 writes of 1 KiB a second over all keys.
    const Outcome outcome = simulate({.dirty_rate = 40 * kMiB});
    EXPECT_EQ(outcome.decision.rule, Rule::FitsDowntime);
    EXPECT_LE(outcome.rounds, 4u);
    EXPECT_LE(outcome.decision.expected_downtime, Seconds{0.025});
}

TEST(Convergence, RoundsFollowTheGeometricSeries) {
    // With D/B = 1/2 each round leaves half of the one before; 30 ms of memory part fit 30 MiB,
    // which 2 GiB reach after the seventh halving, and extra rounds end at the third.
    const ConvergenceLimits limits = {.max_downtime = Seconds{0.050}};
    const Outcome outcome = simulate({.working_set = 1e15, .dirty_rate = 512 * kMiB}, limits);
    const auto halvings = static_cast<unsigned>(std::ceil(std::log2(2048.0 / 30)));
    EXPECT_GE(outcome.rounds, halvings);
    EXPECT_LE(outcome.rounds, halvings + limits.max_extra_rounds);
    EXPECT_LE(outcome.decision.expected_downtime, limits.max_downtime);
}

TEST(Convergence, AWriterFasterThanTheNetworkIsStoppedEarly) {
    const Outcome outcome = simulate({.dirty_rate = 4096 * kMiB});
    EXPECT_EQ(outcome.decision.rule, Rule::NotShrinking);
    EXPECT_LE(outcome.rounds, 5u);
}

TEST(Convergence, AHotWorkingSetThatDoesNotFitStopsOnceTheRestHasBeenSent) {
    const Outcome outcome = simulate({.working_set = 200 * kMiB, .dirty_rate = 4096 * kMiB});
    EXPECT_EQ(outcome.decision.rule, Rule::NotShrinking);
    EXPECT_LE(outcome.rounds, 4u);
    EXPECT_LE(outcome.bytes_left, 200 * kMiB);
}

TEST(Convergence, AFixedCostAboveTheLimitDoesNotRunRoundsForNothing) {
    const Outcome outcome = simulate({.dirty_rate = 40 * kMiB, .fixed_cost = Seconds{0.200}});
    EXPECT_EQ(outcome.decision.rule, Rule::FixedCostAlone);
    EXPECT_LE(outcome.rounds, 4u);
}

TEST(Convergence, OneBurstOfWritesDoesNotEndThePreCopy) {
    Convergence convergence({});
    const auto round = [&](double sent, double dirty) {
        return convergence.after_round({.bytes_sent = static_cast<std::uint64_t>(sent * kMiB),
                                        .duration = Seconds{sent / 1024},
                                        .bytes_dirty = static_cast<std::uint64_t>(dirty * kMiB)});
    };
    EXPECT_FALSE(round(2048, 400).stop);
    EXPECT_FALSE(round(400, 500).stop);  // the burst
    EXPECT_FALSE(round(500, 100).stop);
    EXPECT_FALSE(round(100, 20).stop);  // fits, and shrinks fast
    EXPECT_EQ(round(20, 2).rule, Rule::FitsDowntime);
}

TEST(Convergence, WhereItNoLongerShrinksTheFreezeWaitsForALow) {
    Convergence convergence({});
    const auto round = [&](double sent, double dirty) {
        return convergence.after_round({.bytes_sent = static_cast<std::uint64_t>(sent * kMiB),
                                        .duration = Seconds{sent / 800},
                                        .bytes_dirty = static_cast<std::uint64_t>(dirty * kMiB)});
    };
    EXPECT_FALSE(round(4096, 200).stop);
    EXPECT_FALSE(round(200, 10).stop);
    EXPECT_FALSE(round(10, 6).stop);
    EXPECT_EQ(round(6, 9).rule, Rule::WorthARound);  // fits, but is a peak
    EXPECT_EQ(round(9, 10).rule, Rule::WorthARound);
    EXPECT_EQ(round(10, 7).rule, Rule::FitsDowntime);
}

TEST(Convergence, APlateauThatDoesNotFitIsLeftAtALowToo) {
    Convergence convergence({});
    const auto round = [&](double sent, double dirty) {
        return convergence.after_round({.bytes_sent = static_cast<std::uint64_t>(sent * kMiB),
                                        .duration = Seconds{sent / 800},
                                        .bytes_dirty = static_cast<std::uint64_t>(dirty * kMiB)});
    };
    EXPECT_FALSE(round(4096, 200).stop);
    EXPECT_FALSE(round(200, 190).stop);
    EXPECT_FALSE(round(190, 400).stop);
    EXPECT_FALSE(round(400, 450).stop);
    EXPECT_EQ(round(450, 210).rule, Rule::NotShrinking);
}

TEST(Convergence, TheRoundLimitHolds) {
    // Shrinks by a fifth each round, towards a limit of downtime that is far away.
    Convergence convergence(
        {.max_downtime = Seconds{1e-9}, .max_rounds = 5, .memory_part_worth_a_round = Seconds{0}});
    double dirty = 1000 * kMiB;
    Decision decision;
    for (unsigned i = 0; i < 5; ++i) {
        EXPECT_FALSE(decision.stop);
        decision = convergence.after_round({.bytes_sent = static_cast<std::uint64_t>(dirty / 0.8),
                                            .duration = Seconds{1},
                                            .bytes_dirty = static_cast<std::uint64_t>(dirty)});
        dirty *= 0.8;
    }
    EXPECT_TRUE(decision.stop);
    EXPECT_EQ(decision.rule, Rule::RoundLimit);
}

TEST(Convergence, UsesTheHintWhileRoundsAreTooShortToMeasure) {
    Convergence convergence({});
    const Decision decision = convergence.after_round(
        {.bytes_sent = 4096, .duration = Seconds{1e-4}, .bytes_dirty = 8192}, 1024 * kMiB);
    EXPECT_DOUBLE_EQ(decision.bandwidth, 1024 * kMiB);
    EXPECT_TRUE(decision.stop);
}

TEST(Convergence, EndsForEveryWorkload) {
    for (double memory = 1; memory <= 1 << 20; memory *= 8) {
        for (double rate = 0.1; rate <= 1e5; rate *= 3) {
            for (double bandwidth = 1; bandwidth <= 1e5; bandwidth *= 10) {
                for (const double fixed : {0.0, 0.02, 1.0}) {
                    const Outcome outcome = simulate({.memory = memory * kMiB,
                                                      .working_set = memory * kMiB,
                                                      .dirty_rate = rate * kMiB,
                                                      .bandwidth = bandwidth * kMiB,
                                                      .fixed_cost = Seconds{fixed}});
                    ASSERT_TRUE(outcome.decision.stop);
                    ASSERT_LE(outcome.rounds, ConvergenceLimits{}.max_rounds);
                }
            }
        }
    }
}

}  // namespace
}  // namespace ferry::pages
