#include "base/step_times.h"

#include <fmt/format.h>

#include <iterator>

namespace ferry {
namespace {

constexpr std::chrono::microseconds kWorthSaying{50};

double to_ms(StepTimes::Clock::duration time) {
    return std::chrono::duration<double, std::milli>(time).count();
}

}  // namespace

void StepTimes::done(std::string_view name) {
    const Clock::time_point now = Clock::now();
    const Clock::duration took = now - last_;
    last_ = now;
    if (took < kWorthSaying) return;
    fmt::format_to(std::back_inserter(text_), "{} {:.1f}, ", name, to_ms(took));
}

std::string StepTimes::text() const {
    return fmt::format("{}all {:.1f} ms", text_, to_ms(last_ - begun_));
}

}  // namespace ferry
