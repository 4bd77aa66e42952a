#include "pages/run.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace ferry::pages {
namespace {

PageRun run(std::uint64_t first, std::uint64_t end) {
    return {RemoteAddr{first * kPageSize}, RemoteAddr{end * kPageSize}};
}

std::set<std::uint64_t> as_pages(const PageSet& set) {
    std::set<std::uint64_t> pages;
    for (const PageRun& r : set.runs()) {
        for (auto p = r.start.value; p < r.end.value; p += kPageSize) pages.insert(p / kPageSize);
    }
    return pages;
}

// Sorted, disjoint, not touching, and the byte count is right.
void expect_canonical(const PageSet& set) {
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < set.runs().size(); ++i) {
        const PageRun& r = set.runs()[i];
        EXPECT_FALSE(r.empty());
        if (i > 0) {
            EXPECT_LT(set.runs()[i - 1].end, r.start);
        }
        bytes += r.size();
    }
    EXPECT_EQ(bytes, set.bytes());
}

TEST(PageSet, JoinsRunsThatTouch) {
    PageSet set;
    set.add(run(10, 12));
    set.add(run(14, 16));
    set.add(run(12, 14));
    ASSERT_EQ(set.runs().size(), 1u);
    EXPECT_EQ(set.runs()[0], run(10, 16));
    EXPECT_EQ(set.pages(), 6u);
}

TEST(PageSet, IgnoresEmptyRangesAndFindsPages) {
    PageSet set = {run(3, 3), run(5, 6)};
    EXPECT_EQ(set.pages(), 1u);
    EXPECT_TRUE(set.contains(RemoteAddr{5 * kPageSize + 7}));
    EXPECT_FALSE(set.contains(RemoteAddr{6 * kPageSize}));
    EXPECT_FALSE(set.contains(RemoteAddr{4 * kPageSize}));
}

TEST(PageSet, AgreesWithASetOfPagesUnderRandomOperations) {
    std::mt19937 random(7);
    const auto random_run = [&] {
        const std::uint64_t start = random() % 60;
        return run(start, start + random() % 9);
    };
    for (int round = 0; round < 2000; ++round) {
        PageSet a, b;
        std::set<std::uint64_t> pages_a, pages_b;
        const auto fill = [&](PageSet& set, std::set<std::uint64_t>& pages) {
            for (unsigned i = random() % 8; i > 0; --i) {
                const PageRun r = random_run();
                const bool adds = random() % 4 != 0;
                if (adds)
                    set.add(r);
                else
                    set.remove(r);
                for (auto p = r.start.value; p < r.end.value; p += kPageSize) {
                    if (adds)
                        pages.insert(p / kPageSize);
                    else
                        pages.erase(p / kPageSize);
                }
                expect_canonical(set);
            }
        };
        fill(a, pages_a);
        fill(b, pages_b);
        ASSERT_EQ(as_pages(a), pages_a) << "round " << round;

        std::set<std::uint64_t> both, without, common;
        std::set_union(pages_a.begin(), pages_a.end(), pages_b.begin(), pages_b.end(),
                       std::inserter(both, both.end()));
        std::set_difference(pages_a.begin(), pages_a.end(), pages_b.begin(), pages_b.end(),
                            std::inserter(without, without.end()));
        std::set_intersection(pages_a.begin(), pages_a.end(), pages_b.begin(), pages_b.end(),
                              std::inserter(common, common.end()));
        for (const auto& [set, pages] :
             {std::pair(unite(a, b), both), std::pair(subtract(a, b), without),
              std::pair(intersect(a, b), common)}) {
            ASSERT_EQ(as_pages(set), pages) << "round " << round;
            expect_canonical(set);
        }
        PageSet added = a;
        added.add(b);
        ASSERT_EQ(added, unite(a, b));
        const PageRun window = random_run();
        ASSERT_EQ(a.within(window), intersect(a, PageSet{window}));
    }
}

TEST(Batches, CutLongRunsAndRespectBothLimits) {
    const PageSet set = {run(0, 10), run(20, 21), run(22, 23), run(24, 25)};
    Batches batches(set, {.bytes = 4 * kPageSize, .runs = 2});
    std::vector<std::vector<PageRun>> all;
    for (auto runs = batches.next(); !runs.empty(); runs = batches.next()) {
        all.emplace_back(runs.begin(), runs.end());
    }
    const std::vector<std::vector<PageRun>> expected = {
        {run(0, 4)}, {run(4, 8)}, {run(8, 10), run(20, 21)}, {run(22, 23), run(24, 25)}};
    EXPECT_EQ(all, expected);
}

TEST(Batches, OfAnEmptySetAreNone) {
    const PageSet none;
    Batches batches(none, {});
    EXPECT_TRUE(batches.next().empty());
}

}  // namespace
}  // namespace ferry::pages
