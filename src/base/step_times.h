// How long each step of a work took, in order, for one line of the log.
// Not thread-safe; owns the names' text.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace ferry {

class StepTimes {
  public:
    using Clock = std::chrono::steady_clock;

    StepTimes() : begun_(Clock::now()), last_(begun_) {}

    // What was done since the step before has this name. Steps below 50 us are left out.
    void done(std::string_view name);

    // "stop 8.1, pages 20.4, all 31.0 ms"
    std::string text() const;

  private:
    Clock::time_point begun_;
    Clock::time_point last_;
    std::string text_;
};

}  // namespace ferry
