// How long ago something was, for reports.
#pragma once

#include <chrono>

namespace ferry {

inline double elapsed_ms(std::chrono::steady_clock::time_point since) {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - since)
        .count();
}

}  // namespace ferry
