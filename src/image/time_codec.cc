#include "image/time_codec.h"

#include <fmt/format.h>

namespace ferry::image {

Result<std::uint64_t> join_time(std::uint64_t seconds, std::uint64_t fraction,
                                std::uint64_t per_second) {
    // A timer of more than some thousand years is nonsense, and would overflow.
    if (fraction >= per_second || seconds > (std::uint64_t{1} << 33)) {
        return fail(Error::corrupt(fmt::format("a time of {} s and {}", seconds, fraction)));
    }
    return seconds * per_second + fraction;
}

}  // namespace ferry::image
