// What the kernel tells about another task by its id, without ptrace.
#pragma once

#include <time.h>

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "base/types.h"

namespace ferry::os {

// sched_getaffinity(2): the mask's bytes, bit 0 of the first is CPU 0; as many as the kernel knows.
Result<std::vector<std::uint8_t>> sched_getaffinity(Tid tid);
// CPUs that are online (sysconf(3)).
int online_cpus();

// get_robust_list(2), from outside: needs PTRACE_MODE_READ_REALCREDS.
struct RobustList {
    std::uint64_t address = 0;
    std::uint64_t size = 0;
};
Result<RobustList> get_robust_list(Tid tid);

// clock_gettime(2), in nanoseconds.
Result<std::uint64_t> clock_nanoseconds(int clock);
// What timer_settime(2) and timerfd_settime(2) take, from nanoseconds.
[[nodiscard]] itimerspec timer_setting(std::uint64_t value_ns, std::uint64_t interval_ns);

}  // namespace ferry::os
