// Slows a tree down so that pre-copy can win: it stands still for a share of the time, in short
// stops that end with our process like any other (I1; no control group has to be put back).
// QEMU's auto-converge does the same to virtual processors.
//
// Used by the session's one thread, which calls step() between pieces of work; a stop is as long as
// the longest piece at least.
#pragma once

#include <chrono>
#include <optional>

#include "base/error.h"
#include "dump/source_tree.h"

namespace ferry::migrate {

class Throttle {
  public:
    explicit Throttle(dump::SourceTree& tree) : tree_(tree) {}

    // Of the time that the tree stands still while step() is called; 0: never.
    [[nodiscard]] double share() const { return share_; }
    // For a tree that writes so many bytes per second over a link of that many: the first time so
    // that half of the link is enough, later half of what still runs. False: it cannot be slower.
    bool tighten(double dirty_rate, double bandwidth);
    [[nodiscard]] bool can_be_tightened() const;
    // From here to end() the tree is stopped and continued. Nobody else may stop a task of it.
    void begin();
    // Stops or continues the tree, as the share wants it by now; nothing outside of begin() and
    // end().
    Result<> step();
    // The tree runs when this returns.
    Result<> end();

  private:
    using Clock = std::chrono::steady_clock;

    dump::SourceTree& tree_;
    Result<> let_run();

    double share_ = 0;
    bool begun_ = false;
    std::optional<dump::Frozen> frozen_;
    Clock::time_point since_;  // of the present stop, or the present running
    Clock::duration owed_{0};  // of standing still, for the time that it has run
};

}  // namespace ferry::migrate
