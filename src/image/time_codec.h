// Times of images: seconds and a fraction, as two numbers. Private to image/.
#pragma once

#include <cstdint>

#include "base/error.h"

namespace ferry::image {

// In fractions, of which there are per_second in a second. Corrupt: nonsense, or it would overflow.
Result<std::uint64_t> join_time(std::uint64_t seconds, std::uint64_t fraction,
                                std::uint64_t per_second);

}  // namespace ferry::image
