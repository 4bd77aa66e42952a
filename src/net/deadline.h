// A point in time after which a blocking operation gives up.
#pragma once

#include <algorithm>
#include <chrono>
#include <limits>

namespace ferry::net {

class Deadline {
  public:
    using Clock = std::chrono::steady_clock;

    [[nodiscard]] static Deadline never() { return Deadline(Clock::time_point::max()); }
    [[nodiscard]] static Deadline after(std::chrono::milliseconds span) {
        return Deadline(Clock::now() + span);
    }

    [[nodiscard]] bool passed() const {
        return time_ != Clock::time_point::max() && Clock::now() >= time_;
    }
    // What poll(2) wants: milliseconds rounded up, 0 when passed, -1 for never.
    [[nodiscard]] int poll_timeout() const {
        if (time_ == Clock::time_point::max()) return -1;
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(time_ - Clock::now());
        constexpr auto kMost = std::chrono::milliseconds(std::numeric_limits<int>::max());
        return static_cast<int>(std::clamp(left, std::chrono::milliseconds(0), kMost).count());
    }

  private:
    explicit Deadline(Clock::time_point time) : time_(time) {}
    Clock::time_point time_;
};

}  // namespace ferry::net
