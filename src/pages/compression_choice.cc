#include "pages/compression_choice.h"

namespace ferry::pages {
namespace {

// Fewer say nothing.
constexpr std::uint64_t kFewestBytes = 1 << 20;
// A page takes LZ4 about 7 us here. A link that carries one in 20 us leaves time for that twice.
constexpr double kSlowLink = 200e6;  // bytes per second
constexpr double kMostlyWaiting = 0.5;
constexpr double kWorthIt = 0.9;

}  // namespace

Compression CompressionChoice::after_round(const SendMeasure& round) {
    if (useless_ || round.page_bytes < kFewestBytes || round.duration.count() <= 0) return current_;
    const double seconds = round.duration.count();
    const double bytes = static_cast<double>(round.page_bytes);
    if (current_ == Compression::Lz4) {
        useless_ = static_cast<double>(round.wire_bytes) > kWorthIt * bytes;
        if (useless_) current_ = Compression::None;
    } else if (round.waited.count() > kMostlyWaiting * seconds && bytes < kSlowLink * seconds) {
        current_ = Compression::Lz4;
    }
    return current_;
}

}  // namespace ferry::pages
