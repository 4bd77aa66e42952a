#include "resources/timerfd.h"

#include <fmt/format.h>
#include <sys/timerfd.h>
#include <time.h>

#include "os/description.h"
#include "os/task.h"
#include "resources/fdinfo.h"

namespace ferry::resources {
Result<> check_timerfd(const Slot& slot) {
    if (!slot.info.timer) {
        return fail(Error::corrupt(fmt::format("{}: timerfd without a timer", slot.holder.text())));
    }
    const int clock = slot.info.timer->clock;
    if (clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME) return {};
    return refuse(slot.holder, fmt::format("a timerfd of clock {}, which is not carried", clock));
}

// A periodic timer that has expired stands still until somebody looks: only then are the periods
// that have passed counted (timerfd_gettime(2), fs/timerfd.c). What the task reads afterwards is
// the same.
Result<model::TimerFd> read_timerfd(int copy, const Slot& slot) {
    TRY(os::timerfd_gettime(copy));
    Slot counted = slot;
    counted.info = TRY(parse_fdinfo(TRY(os::read_file(fmt::format("/proc/self/fdinfo/{}", copy)))));
    TRY(check_timerfd(counted));
    return *counted.info.timer;
}

Result<os::UniqueFd> open_timerfd(const model::TimerFd& timer) {
    os::UniqueFd opened = TRY(os::timerfd_create(timer.clock));
    std::uint64_t rest = timer.value_ns;
    // It expired while it was read, or by CRIU's images, which do not count the periods: zero would
    // disarm it, so it expires at once.
    if (rest == 0 && timer.interval_ns != 0 && timer.ticks != 0) rest = 1;
    if (rest != 0) {
        const bool absolute = (timer.settime_flags & TFD_TIMER_ABSTIME) != 0;
        if (absolute) rest += TRY(os::clock_nanoseconds(timer.clock));
        TRY(os::timerfd_settime(opened.get(), static_cast<int>(timer.settime_flags),
                                os::timer_setting(rest, timer.interval_ns)));
    }
    // Last: setting the timer forgets them.
    if (timer.ticks != 0) TRY(os::timerfd_set_ticks(opened.get(), timer.ticks));
    return opened;
}

}  // namespace ferry::resources
