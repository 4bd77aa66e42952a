// Scheduling of any thread by its id: policy, nice value, processors (sched(7)).
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/error.h"
#include "base/types.h"

namespace ferry::os {

// policy is SCHED_*; the static priority is 0 for policies without one.
Result<> sched_setscheduler(Tid tid, int policy, int priority);
// With SCHED_RESET_ON_FORK.
Result<int> sched_getscheduler(Tid tid);
// ioprio_get(2), ioprio_set(2): class and level in one number; 0 is none.
Result<int> io_priority_of(Tid tid);
Result<> set_io_priority(Tid tid, int priority);
Result<int> nice_of(Tid tid);
Result<> set_nice(Tid tid, int nice);
// The mask's bytes, bit 0 of the first is CPU 0. EINVAL: none of these CPUs is here.
Result<> sched_setaffinity(Tid tid, std::span<const std::uint8_t> mask);

// Lets a thread run before all ordinary ones: SCHED_FIFO, or, where that is not allowed (a cgroup
// without real-time bandwidth), nice -20. False where neither is.
bool make_urgent(Tid tid);

// Makes the calling thread urgent for as long as it lives, if it was an ordinary one.
class Urgency {
  public:
    Urgency();
    Urgency(const Urgency&) = delete;
    Urgency& operator=(const Urgency&) = delete;
    ~Urgency();

  private:
    Tid tid_;
    int policy_ = 0;
    int nice_ = 0;
    bool raised_ = false;
};

// Lets the calling thread, and those that it makes meanwhile, stand back behind the others of this
// machine for as long as it lives: a nice value higher by 5, a third of the weight.
class Modesty {
  public:
    Modesty();
    Modesty(const Modesty&) = delete;
    Modesty& operator=(const Modesty&) = delete;
    ~Modesty();

  private:
    Tid tid_;
    std::optional<int> nice_;  // before; empty: it could not be changed
};

}  // namespace ferry::os
