// Latencies as a histogram of constant relative error: four sub-buckets per power of two from 1 us
// to more than an hour. Not synchronised.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>

namespace ferry::lab {

class LatencyHistogram {
  public:
    void add(std::chrono::nanoseconds latency);
    void merge(const LatencyHistogram& other);
    [[nodiscard]] std::uint64_t count() const { return count_; }
    [[nodiscard]] double max_ms() const { return max_ms_; }
    // Upper bound of the bucket that holds the given share (0..1) of all; 0 if empty.
    [[nodiscard]] double quantile_ms(double share) const;

  private:
    static constexpr std::size_t kPowers = 33, kSubBuckets = 4;
    std::array<std::uint64_t, kPowers * kSubBuckets> buckets_ = {};
    std::uint64_t count_ = 0;
    double max_ms_ = 0;
};

}  // namespace ferry::lab
