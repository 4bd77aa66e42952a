// Ctrl-C, SIGTERM and SIGHUP end the lab in an orderly way at any moment: a thread waits for them,
// takes down what there is (kills everything inside the world and waits until it is gone), and ends
// the program.
#pragma once

#include <functional>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "lab/world.h"

namespace ferry::lab {

class InterruptGuard {
  public:
    // Blocks the signals in the calling thread: call it first of all, in the main thread, so that
    // every other thread inherits that.
    InterruptGuard();
    InterruptGuard(const InterruptGuard&) = delete;
    InterruptGuard& operator=(const InterruptGuard&) = delete;
    // Ends the thread; a signal that came just then ends the program as it would without us.
    ~InterruptGuard();

    // What has to be taken down; nullptr: nothing (any more). The world must be told off before it
    // is destroyed. A first signal that comes while a world is being made or destroyed waits for
    // the next call of this.
    void watch(const World* world);
    // The same for what is no world. Called in the guard's thread, once, before the program ends.
    void watch(std::function<void()> take_down);
    void watch(std::nullptr_t) { watch(std::function<void()>()); }

  private:
    void wait_for_signals();
    std::mutex mutex_;  // guards the two below
    std::function<void()> take_down_;
    int pending_ = 0;
    std::thread thread_;
};

}  // namespace ferry::lab
