#include "lab/latency.h"

#include <gtest/gtest.h>

namespace ferry::lab {
namespace {

using namespace std::chrono_literals;

TEST(LatencyHistogram, AnEmptyOneHasNoQuantile) {
    const LatencyHistogram histogram;
    EXPECT_EQ(histogram.quantile_ms(0.5), 0);
    EXPECT_EQ(histogram.max_ms(), 0);
}

TEST(LatencyHistogram, AQuantileIsAtMostAQuarterTooHigh) {
    LatencyHistogram histogram;
    for (int i = 1; i <= 1000; ++i) histogram.add(std::chrono::microseconds(i * 100));
    EXPECT_GE(histogram.quantile_ms(0.5), 50.0);
    EXPECT_LE(histogram.quantile_ms(0.5), 62.6);
    EXPECT_DOUBLE_EQ(histogram.max_ms(), 100.0);
    EXPECT_DOUBLE_EQ(histogram.quantile_ms(1.0), 100.0);
}

TEST(LatencyHistogram, ExtremesAreCountedAtTheEnds) {
    LatencyHistogram histogram;
    histogram.add(-5ns);
    histogram.add(0ns);
    histogram.add(std::chrono::hours(10));
    EXPECT_EQ(histogram.count(), 3u);
    EXPECT_DOUBLE_EQ(histogram.max_ms(), 36e6);
}

TEST(LatencyHistogram, MergingAddsCountsAndKeepsTheGreaterMaximum) {
    LatencyHistogram a, b;
    a.add(1ms);
    b.add(9ms);
    a.merge(b);
    EXPECT_EQ(a.count(), 2u);
    EXPECT_DOUBLE_EQ(a.max_ms(), 9.0);
}

}  // namespace
}  // namespace ferry::lab
