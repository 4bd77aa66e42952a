#include "migrate/file_changes.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "pages/convergence.h"

namespace ferry::migrate {
namespace {

using namespace std::chrono_literals;
constexpr std::uint64_t kMib = 1u << 20;
constexpr FileChanges::Clock::time_point kStart{};

TEST(FileChanges, TheFirstCopyIsNoChange) {
    FileChanges changes;
    EXPECT_EQ(changes.expected(kStart), 0u);
    changes.add_pass(kStart, 900 * kMib);
    EXPECT_EQ(changes.expected(kStart + 10s), 0u);
}

TEST(FileChanges, GoOnAsBetweenTheLastTwoPasses) {
    FileChanges changes;
    changes.add_pass(kStart, 900 * kMib);
    changes.add_pass(kStart + 9s, 90 * kMib);
    EXPECT_EQ(changes.expected(kStart + 9s), 0u);
    EXPECT_EQ(changes.expected(kStart + 13s), 40 * kMib);
    changes.add_pass(kStart + 13s, 4 * kMib);
    EXPECT_EQ(changes.expected(kStart + 15s), 2 * kMib);
}

// 40 MiB of files change each second, the link carries 12: the pre-copy ends as one does that
// memory outpaces, long before the limit of rounds.
TEST(FileChanges, ThatOutpaceTheLinkEndThePrecopy) {
    constexpr double kChange = 40 * kMib, kLink = 12 * kMib;
    FileChanges changes;
    pages::Convergence convergence({});
    changes.add_pass(kStart, 48 * kMib);
    auto now = kStart + 4s;
    std::uint64_t bytes = 48 * kMib;  // all of the file
    pages::Decision decision;
    while (!decision.stop) {
        changes.add_pass(now, bytes);
        const std::chrono::duration<double> took(static_cast<double>(bytes) / kLink);
        now += std::chrono::duration_cast<FileChanges::Clock::duration>(took);
        decision = convergence.after_round({.bytes_sent = bytes,
                                            .duration = took,
                                            .bytes_dirty = changes.expected(now) + kMib,
                                            .fixed_cost = pages::Seconds(0.010)});
        bytes = std::min(48 * kMib, static_cast<std::uint64_t>(kChange * took.count()));
    }
    EXPECT_EQ(decision.rule, pages::Rule::NotShrinking);
    EXPECT_LE(convergence.rounds(), 4u);
}

}  // namespace
}  // namespace ferry::migrate
