// What to do when pre-copy cannot bring the expected freeze below --max-downtime: the service
// writes memory faster than the link carries it, or the fixed cost alone is above it (decision 18).
#pragma once

#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace ferry::migrate {

enum class OnNoConvergence {
    StopCopy,  // freeze all the same, for as long as what is left takes
    Throttle,  // slow the service down until it fits; at the slowest: as StopCopy
    Abort,     // the service stays where it is
};

inline constexpr std::array<std::pair<OnNoConvergence, std::string_view>, 3> kOnNoConvergence = {{
    {OnNoConvergence::StopCopy, "stop-copy"},
    {OnNoConvergence::Throttle, "throttle"},
    {OnNoConvergence::Abort, "abort"},
}};

[[nodiscard]] constexpr std::string_view name_of(OnNoConvergence choice) {
    for (const auto& [value, name] : kOnNoConvergence) {
        if (value == choice) return name;
    }
    return "";
}

[[nodiscard]] constexpr std::optional<OnNoConvergence> on_no_convergence_from(
    std::string_view text) {
    for (const auto& [value, name] : kOnNoConvergence) {
        if (name == text) return value;
    }
    return std::nullopt;
}

// For people: why the freeze is not what was asked for. `rule` as pages::describe() has it.
[[nodiscard]] std::string describe_long_freeze(std::chrono::duration<double> max_downtime,
                                               std::string_view rule,
                                               std::chrono::duration<double> expected);

}  // namespace ferry::migrate
