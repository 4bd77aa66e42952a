// Numbers for people.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <string>

namespace ferry::cli {

// "512 B", "1.5 KiB", "2.3 GiB".
[[nodiscard]] inline std::string bytes_text(double bytes) {
    constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
    std::size_t unit = 0;
    for (; bytes >= 1024 && unit + 1 < kUnits.size(); ++unit) bytes /= 1024;
    return unit == 0 ? fmt::format("{:.0f} B", bytes)
                     : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

// "850 us", "23.4 ms", "1.25 s".
[[nodiscard]] inline std::string milliseconds_text(double milliseconds) {
    if (milliseconds < 1) return fmt::format("{:.0f} us", milliseconds * 1000);
    if (milliseconds < 1000) return fmt::format("{:.1f} ms", milliseconds);
    return fmt::format("{:.2f} s", milliseconds / 1000);
}

}  // namespace ferry::cli
