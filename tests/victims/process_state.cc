// What the kernel keeps per process and thread beside memory: signal actions, masks, pending
// signals, timers, an alternate stack, umask, limits, name, nice value, mlock and madvise.
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#include <cstring>

#include "victim.h"

namespace {

volatile sig_atomic_t g_usr1 = 0;
void on_usr1(int) {
    g_usr1 = g_usr1 + 1;
}

template <class T>
void expect(const char* what, T value, T expected) {
    if (value != expected) {
        victim::fail("%s is %lld", what, static_cast<long long>(value));
    }
}

}  // namespace

int main() {
    victim::arm();
    struct sigaction action = {};
    action.sa_handler = on_usr1;
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    sigaddset(&action.sa_mask, SIGHUP);
    sigaction(SIGUSR1, &action, nullptr);
    signal(SIGPIPE, SIG_IGN);
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, nullptr);
    raise(SIGUSR1);
    static char stack[1 << 16];
    const stack_t alternate = {.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof(stack)};
    sigaltstack(&alternate, nullptr);
    const itimerval far = {.it_interval = {7, 0}, .it_value = {4000, 0}};
    setitimer(ITIMER_REAL, &far, nullptr);
    sigevent event = {};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR2;
    event.sigev_value.sival_int = 77;
    timer_t timer{};
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    const itimerspec later = {.it_interval = {3, 5}, .it_value = {5000, 0}};
    timer_settime(timer, 0, &later, nullptr);
    umask(027);
    const rlimit files = {.rlim_cur = 100, .rlim_max = 200};
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_NAME, "renamed");
    setpriority(PRIO_PROCESS, 0, 5);
    void* locked = mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mlock(locked, 4096);
    madvise(static_cast<char*>(locked) + 4096, 4096, MADV_DONTFORK);

    victim::wait_for_end();

    struct sigaction now = {};
    sigaction(SIGUSR1, nullptr, &now);
    expect("the handler", now.sa_handler == on_usr1, true);
    constexpr int kRestorer = 0x04000000;  // glibc shows what it adds.
    expect("sa_flags", now.sa_flags & ~kRestorer, SA_RESTART | SA_ONSTACK);
    expect("sa_mask", sigismember(&now.sa_mask, SIGHUP), 1);
    sigaction(SIGPIPE, nullptr, &now);
    expect("SIGPIPE ignored", now.sa_handler == SIG_IGN, true);
    stack_t altstack = {};
    sigaltstack(nullptr, &altstack);
    expect("altstack", altstack.ss_sp == stack && altstack.ss_size == sizeof(stack), true);
    itimerval left = {};
    getitimer(ITIMER_REAL, &left);
    expect("itimer", left.it_interval.tv_sec == 7 && left.it_value.tv_sec > 3000, true);
    itimerspec rest = {};
    timer_gettime(timer, &rest);
    expect("timer", rest.it_interval.tv_nsec == 5 && rest.it_value.tv_sec > 4000, true);
    expect("umask", static_cast<int>(umask(0)), 027);
    rlimit limit = {};
    getrlimit(RLIMIT_NOFILE, &limit);
    expect("limits", limit.rlim_cur == 100 && limit.rlim_max == 200, true);
    char name[16] = {};
    prctl(PR_GET_NAME, name);
    expect("name", std::strcmp(name, "renamed"), 0);
    expect("nice", getpriority(PRIO_PROCESS, 0), 5);
    expect("USR1 delivered early", static_cast<int>(g_usr1), 0);
    sigprocmask(SIG_UNBLOCK, &blocked, nullptr);
    expect("USR1 pending", static_cast<int>(g_usr1), 1);
    victim::pass();
}
