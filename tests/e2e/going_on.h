// What "its clients go on" and "nothing is lost" mean to a test. To go on: writes are acknowledged
// from now on, and nothing has failed. A machine may be slow, and after a long silence TCP's next
// attempt is seconds away.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "lab/load.h"

namespace ferry::lab {

inline void expect_goes_on(Load& load) {
    static_cast<void>(load.take_window());
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    std::uint64_t acknowledged = 0;
    while (acknowledged == 0 && !load.failure() && std::chrono::steady_clock::now() < limit) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        acknowledged = load.take_window().writes_acknowledged;
    }
    EXPECT_GT(acknowledged, 0u);
    EXPECT_EQ(load.failure(), std::nullopt);
}

// Ends the load; every write that was acknowledged is there, and nothing else.
inline void expect_nothing_lost(Load& load) {
    const auto stopped = load.stop();
    ASSERT_TRUE(stopped) << stopped.error().describe();
    const auto verified = load.verify();
    ASSERT_TRUE(verified) << verified.error().describe();
    EXPECT_EQ(verified->lost, 0u);
    EXPECT_EQ(verified->foreign, 0u);
}

}  // namespace ferry::lab
