// Absolute deadlines on CLOCK_MONOTONIC and CLOCK_BOOTTIME: of timers, a timerfd, threads that
// sleep and one that waits for a condition. None comes before its time, and none late.
#include <pthread.h>
#include <sys/timerfd.h>
#include <time.h>

#include <atomic>
#include <cinttypes>
#include <cstdint>

#include "victim.h"

namespace {

constexpr std::int64_t kSecond = 1'000'000'000, kAhead = 6 * kSecond, kLate = 45 * kSecond;
enum Waiter { MonotonicSleep, BootSleep, Condition, MonotonicFd, BootFd, Timer, kWaiters };
struct Deadline {
    clockid_t clock = CLOCK_MONOTONIC;
    std::int64_t at = 0;
    std::atomic<std::int64_t> met{0};
    int fd = -1;
} g_deadlines[kWaiters];

std::int64_t now(clockid_t clock) {
    timespec t = {};
    clock_gettime(clock, &t);
    return t.tv_sec * kSecond + t.tv_nsec;
}
timespec spec(std::int64_t ns) {
    return {.tv_sec = ns / kSecond, .tv_nsec = ns % kSecond};
}

void* wait_for(void* argument) {
    auto& deadline = *static_cast<Deadline*>(argument);
    const long which = &deadline - g_deadlines;
    const timespec at = spec(deadline.at);
    const itimerspec setting = {.it_interval = {}, .it_value = at};
    std::uint64_t count = 0;
    if (which == Condition) {
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, deadline.clock);
        pthread_cond_t condition;
        pthread_cond_init(&condition, &attributes);
        pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
        pthread_mutex_lock(&mutex);
        while (pthread_cond_timedwait(&condition, &mutex, &at) == 0) continue;
    } else if (which == MonotonicFd || which == BootFd) {
        deadline.fd = timerfd_create(deadline.clock, 0);
        timerfd_settime(deadline.fd, TFD_TIMER_ABSTIME, &setting, nullptr);
        if (read(deadline.fd, &count, sizeof(count)) != sizeof(count)) victim::fail("read");
    } else if (which == Timer) {
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGRTMIN);
        timer_t timer = {};
        sigevent event = {};
        event.sigev_notify = SIGEV_SIGNAL;
        event.sigev_signo = SIGRTMIN;
        timer_create(deadline.clock, &event, &timer);
        timer_settime(timer, TIMER_ABSTIME, &setting, nullptr);
        while (sigwaitinfo(&signals, nullptr) != SIGRTMIN) continue;
    } else {
        while (clock_nanosleep(deadline.clock, TIMER_ABSTIME, &at, nullptr) != 0) continue;
    }
    deadline.met = now(deadline.clock);
    return nullptr;
}

}  // namespace

int main() {
    victim::arm();
    victim::leave_signal_to_main();
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    for (int which = 0; which < kWaiters; ++which) {
        Deadline& deadline = g_deadlines[which];
        if (which == BootSleep || which == BootFd) deadline.clock = CLOCK_BOOTTIME;
        deadline.at = now(deadline.clock) + kAhead;
        pthread_t thread;
        if (pthread_create(&thread, nullptr, wait_for, &deadline) != 0) victim::fail("thread");
    }
    const std::int64_t real = now(CLOCK_REALTIME), start = now(CLOCK_MONOTONIC);
    victim::wait_for_end();
    const std::int64_t passed = now(CLOCK_MONOTONIC) - start, by_date = now(CLOCK_REALTIME) - real;
    if (passed < 0 || passed > by_date + kLate || passed < by_date - kLate) {
        victim::fail("%" PRId64 " ns by the clock, %" PRId64 " by the date", passed, by_date);
    }
    for (int which = 0; which < kWaiters; ++which) {
        Deadline& deadline = g_deadlines[which];
        const timespec moment = {.tv_sec = 0, .tv_nsec = kSecond / 50};
        for (int i = 0; i < 50 * 60 && deadline.met == 0; ++i) nanosleep(&moment, nullptr);
        if (deadline.met == 0) victim::fail("deadline %d has not come", which);
        const std::int64_t late = deadline.met - deadline.at;
        if (late < 0 || late > kLate) victim::fail("deadline %d: %" PRId64 " ns late", which, late);
    }
    victim::pass();
}
