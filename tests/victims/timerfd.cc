// Timers keep what is left, their interval and their unread expirations; an absolute one stays
// absolute, a disarmed one disarmed, and a periodic one that has expired goes on.
#include <sys/timerfd.h>

#include <cerrno>
#include <cstdint>

#include "victim.h"

namespace {

constexpr long kFar = 4000;

int make(int clock, int flags, long seconds, long nanoseconds, long interval) {
    const int fd = timerfd_create(clock, TFD_NONBLOCK);
    const itimerspec setting = {.it_interval = {interval, 0}, .it_value = {seconds, nanoseconds}};
    if (fd < 0 || timerfd_settime(fd, flags, &setting, nullptr) != 0) {
        victim::fail("timerfd: %d", errno);
    }
    return fd;
}

void expect_rest(const char* what, int fd, long seconds, long interval) {
    itimerspec now = {};
    timerfd_gettime(fd, &now);
    const bool near = now.it_value.tv_sec <= seconds && now.it_value.tv_sec > seconds - 120;
    if (!near || now.it_interval.tv_sec != interval) {
        victim::fail("%s: %ld s left, interval %ld s", what, now.it_value.tv_sec,
                     now.it_interval.tv_sec);
    }
    std::uint64_t ticks = 0;
    if (read(fd, &ticks, sizeof(ticks)) != -1 || errno != EAGAIN) victim::fail("%s: expired", what);
}

void expect_ticks(const char* what, int fd) {
    std::uint64_t ticks = 0;
    if (read(fd, &ticks, sizeof(ticks)) != sizeof(ticks) || ticks != 1) {
        victim::fail("%s: %llu ticks", what, static_cast<unsigned long long>(ticks));
    }
}

}  // namespace

int main() {
    victim::arm();
    timespec now = {};
    clock_gettime(CLOCK_REALTIME, &now);
    const int relative = make(CLOCK_MONOTONIC, 0, kFar, 0, 7);
    const int absolute = make(CLOCK_REALTIME, TFD_TIMER_ABSTIME, now.tv_sec + kFar, 0, 0);
    const int disarmed = make(CLOCK_BOOTTIME, 0, 0, 0, 0);
    const int once = make(CLOCK_MONOTONIC, 0, 0, 1, 0);
    const int periodic = make(CLOCK_MONOTONIC, 0, 0, 1, kFar);
    // Unread for long: the periods that pass are counted, the move's included.
    const int frequent = make(CLOCK_MONOTONIC, 0, 0, 1, 0);
    const itimerspec often = {.it_interval = {0, 1'000'000}, .it_value = {0, 1'000'000}};
    timerfd_settime(frequent, 0, &often, nullptr);
    usleep(200'000);
    victim::wait_for_end();
    expect_rest("relative", relative, kFar, 7);
    expect_rest("absolute", absolute, kFar, 0);
    itimerspec setting = {};
    timerfd_gettime(disarmed, &setting);
    if (setting.it_value.tv_sec != 0 || setting.it_value.tv_nsec != 0) victim::fail("armed");
    std::uint64_t ticks = 0;
    if (read(frequent, &ticks, sizeof(ticks)) != sizeof(ticks) || ticks < 200) {
        victim::fail("frequent: %llu ticks", static_cast<unsigned long long>(ticks));
    }
    expect_ticks("once", once);
    expect_ticks("periodic", periodic);
    expect_rest("periodic", periodic, kFar, kFar);
    victim::pass();
}
