#include "migrate/file_changes.h"

namespace ferry::migrate {

using Seconds = std::chrono::duration<double>;

void FileChanges::add_pass(Clock::time_point begun, std::uint64_t bytes) {
    if (last_begun_ && begun > *last_begun_) {
        bytes_per_second_ = static_cast<double>(bytes) / Seconds(begun - *last_begun_).count();
    }
    last_begun_ = begun;
}

std::uint64_t FileChanges::expected(Clock::time_point now) const {
    if (!last_begun_) return 0;
    return static_cast<std::uint64_t>(bytes_per_second_ * Seconds(now - *last_begun_).count());
}

}  // namespace ferry::migrate
