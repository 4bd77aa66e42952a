#include "lab/latency.h"

#include <algorithm>
#include <bit>

namespace ferry::lab {

void LatencyHistogram::add(std::chrono::nanoseconds latency) {
    const auto ns = std::max<std::int64_t>(latency.count(), 0);
    const auto us = static_cast<std::uint64_t>(ns / 1000) + 1;
    const auto power = static_cast<std::size_t>(std::bit_width(us) - 1);
    // The two bits below the leading one choose the sub-bucket.
    const std::uint64_t below = power >= 2 ? (us >> (power - 2)) & 3 : (us << (2 - power)) & 3;
    const std::size_t index = power * kSubBuckets + below;
    ++buckets_[std::min(index, buckets_.size() - 1)];
    ++count_;
    max_ms_ = std::max(max_ms_, static_cast<double>(ns) / 1e6);
}

void LatencyHistogram::merge(const LatencyHistogram& other) {
    for (std::size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
    count_ += other.count_;
    max_ms_ = std::max(max_ms_, other.max_ms_);
}

double LatencyHistogram::quantile_ms(double share) const {
    const double wanted = share * static_cast<double>(count_);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
        seen += buckets_[i];
        if (seen == 0 || static_cast<double>(seen) < wanted) continue;
        const double power = static_cast<double>(std::uint64_t{1} << (i / kSubBuckets));
        const double upper = power * (1.0 + static_cast<double>(i % kSubBuckets + 1) / kSubBuckets);
        return std::min((upper - 1) / 1000.0, max_ms_);
    }
    return 0;
}

}  // namespace ferry::lab
