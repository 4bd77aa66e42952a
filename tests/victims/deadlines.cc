// Absolute deadlines on CLOCK_MONOTONIC and CLOCK_BOOTTIME, of threads that sleep, wait for a
// condition, a timerfd or a timer: none comes before its time, and none late.
#include <pthread.h>
#include <sys/timerfd.h>
#include <time.h>

#include <atomic>
#include <cinttypes>
#include <cstdint>

#include "victim.h"

namespace {

constexpr std::int64_t kSecond = 1'000'000'000, kAhead = 6 * kSecond, kLate = 45 * kSecond;
enum Way { Sleep, Fd, Condition, Timer };
struct Deadline {
    Way way;
    clockid_t clock;
    std::int64_t at = 0;
    std::atomic<std::int64_t> met{0};
} g_deadlines[] = {{Sleep, CLOCK_MONOTONIC}, {Sleep, CLOCK_BOOTTIME},      {Fd, CLOCK_MONOTONIC},
                   {Fd, CLOCK_BOOTTIME},     {Condition, CLOCK_MONOTONIC}, {Timer, CLOCK_MONOTONIC},
                   {Timer, CLOCK_BOOTTIME}};

std::int64_t now(clockid_t clock) {
    timespec t = {};
    clock_gettime(clock, &t);
    return t.tv_sec * kSecond + t.tv_nsec;
}

void* wait_for(void* argument) {
    auto& deadline = *static_cast<Deadline*>(argument);
    const timespec at = {.tv_sec = deadline.at / kSecond, .tv_nsec = deadline.at % kSecond};
    const itimerspec setting = {.it_interval = {}, .it_value = at};
    if (deadline.way == Condition) {
        pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
        pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
        pthread_mutex_lock(&mutex);
        while (pthread_cond_clockwait(&condition, &mutex, deadline.clock, &at) == 0) continue;
    } else if (deadline.way == Fd) {
        const int fd = timerfd_create(deadline.clock, 0);
        timerfd_settime(fd, TFD_TIMER_ABSTIME, &setting, nullptr);
        std::uint64_t count = 0;
        if (read(fd, &count, sizeof(count)) != sizeof(count)) victim::fail("read");
    } else if (deadline.way == Timer) {
        sigevent event = {};
        event.sigev_notify = SIGEV_SIGNAL;
        event.sigev_signo = SIGRTMIN + deadline.clock;
        timer_t timer = {};
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, event.sigev_signo);
        timer_create(deadline.clock, &event, &timer);
        timer_settime(timer, TIMER_ABSTIME, &setting, nullptr);
        while (sigwaitinfo(&signals, nullptr) != event.sigev_signo) continue;
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
    for (const int clock : {CLOCK_MONOTONIC, CLOCK_BOOTTIME}) sigaddset(&signals, SIGRTMIN + clock);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    for (Deadline& deadline : g_deadlines) {
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
    for (Deadline& deadline : g_deadlines) {
        const timespec moment = {.tv_sec = 0, .tv_nsec = kSecond / 50};
        for (int i = 0; i < 50 * 60 && deadline.met == 0; ++i) nanosleep(&moment, nullptr);
        const std::int64_t late = deadline.met - deadline.at;
        if (late >= 0 && late <= kLate) continue;
        victim::fail("deadline of way %d: %" PRId64 " ns late", deadline.way, late);
    }
    victim::pass();
}
