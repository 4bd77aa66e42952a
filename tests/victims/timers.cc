// Timers of three kinds go on firing, with their ids, at the thread they are meant for.
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include <cerrno>

#include "victim.h"

namespace {

volatile sig_atomic_t g_alarms = 0, g_ticks = 0, g_wrong = 0;
pid_t g_tid = 0;

void on_alarm(int) {
    g_alarms = g_alarms + 1;
}
void on_tick(int, siginfo_t* info, void*) {
    g_ticks = g_ticks + 1;
    if (info->si_value.sival_int != 99 || syscall(SYS_gettid) != g_tid) g_wrong = 1;
}

int make_timer(int notify, int signal, long ms) {
    sigevent event = {};
    event.sigev_notify = notify;
    event.sigev_signo = signal;
    event.sigev_value.sival_int = 99;
    event._sigev_un._tid = g_tid;
    int id = -1;
    if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id) != 0) victim::fail("timer_create");
    const itimerspec every = {.it_interval = {0, ms * 1'000'000}, .it_value = {0, ms * 1'000'000}};
    syscall(SYS_timer_settime, id, 0, &every, nullptr);
    return id;
}

}  // namespace

int main() {
    victim::arm();
    g_tid = static_cast<pid_t>(syscall(SYS_gettid));
    struct sigaction action = {};
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, nullptr);
    action.sa_sigaction = on_tick;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGRTMIN, &action, nullptr);
    const int unused = make_timer(SIGEV_NONE, 0, 10);
    for (int i = 0; i < 5; ++i) syscall(SYS_timer_delete, make_timer(SIGEV_NONE, 0, 10));
    const int id = make_timer(SIGEV_THREAD_ID, SIGRTMIN, 20);
    const itimerval every = {.it_interval = {0, 30'000}, .it_value = {0, 30'000}};
    setitimer(ITIMER_REAL, &every, nullptr);
    victim::wait_for_end();
    g_alarms = 0;
    g_ticks = 0;
    for (int i = 0; i < 500 && (g_alarms < 3 || g_ticks < 3); ++i) usleep(10'000);
    if (g_alarms < 3 || g_ticks < 3) victim::fail("%d alarms, %d ticks", g_alarms, g_ticks);
    if (g_wrong != 0) victim::fail("a tick came with another value or to another thread");
    itimerspec setting = {};
    if (syscall(SYS_timer_gettime, id, &setting) != 0) victim::fail("timer %d is gone", id);
    if (setting.it_interval.tv_nsec != 20'000'000) victim::fail("the interval changed");
    if (syscall(SYS_timer_gettime, unused, &setting) != 0) victim::fail("timer %d is gone", unused);
    victim::pass();
}
