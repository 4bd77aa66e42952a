// How much of a container's files is expected to have changed since they were last looked at.
// Internal to migrate/; a pure function of what was measured.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace ferry::migrate {

// Each pass over the files sends what has changed since the pass before it began; the first sends
// what the destination lacks, which says nothing of changes. Passes lie apart as far as the memory
// between them takes, so changes are compared by time.
class FileChanges {
  public:
    using Clock = std::chrono::steady_clock;

    // A pass that began then has sent `bytes` of content.
    void add_pass(Clock::time_point begun, std::uint64_t bytes);
    // Bytes that the next pass would send, if it began now. 0 before the second pass.
    [[nodiscard]] std::uint64_t expected(Clock::time_point now) const;

  private:
    std::optional<Clock::time_point> last_begun_;
    double bytes_per_second_ = 0;
};

}  // namespace ferry::migrate
