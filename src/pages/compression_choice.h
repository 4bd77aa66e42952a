// When pages are worth compressing on their way: while the link is the narrow place and compressing
// makes them smaller. A pure function of what was measured: no clock, no I/O.
#pragma once

#include <chrono>
#include <cstdint>

#include "pages/page_wire.h"

namespace ferry::pages {

// One round of pre-copy, as its sender saw it.
struct SendMeasure {
    std::uint64_t page_bytes = 0;               // of content
    std::uint64_t wire_bytes = 0;               // that they became
    std::chrono::duration<double> duration{0};  // of encrypting and sending alone
    std::chrono::duration<double> waited{0};    // of it, for the link to take more
};

// One session's: feed it every round in order, compress the next as it says.
class CompressionChoice {
  public:
    Compression after_round(const SendMeasure& round);

  private:
    Compression current_ = Compression::None;
    bool useless_ = false;  // was tried, and gained nothing
};

}  // namespace ferry::pages
