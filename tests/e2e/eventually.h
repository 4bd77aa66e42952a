// Waits for what comes true by itself.
#pragma once

#include <chrono>
#include <thread>

namespace ferry::lab {

// Whether `what` holds within the time; asked every few milliseconds.
template <class F>
bool eventually(F what, std::chrono::seconds within) {
    const auto limit = std::chrono::steady_clock::now() + within;
    while (!what()) {
        if (std::chrono::steady_clock::now() > limit) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
}

}  // namespace ferry::lab
