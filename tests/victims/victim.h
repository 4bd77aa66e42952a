// The contract every victim keeps. A victim sets up one kernel behaviour, calls wait_for_end(),
// which prints READY and returns when SIGTERM arrives (here dump, restore or migration have
// happened), then verifies itself and ends with pass() or fail("why").
#pragma once

#include <signal.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace victim {

inline volatile sig_atomic_t g_ended = 0;
inline void on_sigterm(int) {
    g_ended = 1;
}

inline void arm() {
    struct sigaction action = {};
    action.sa_handler = on_sigterm;
    sigaction(SIGTERM, &action, nullptr);
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
}
[[nodiscard]] inline bool ended() {
    return g_ended != 0;
}

// For victims with threads, before they make them: the threads block SIGTERM, so that the main
// thread gets it and wakes up in wait_for_end().
inline void leave_signal_to_main() {
    sigset_t block;
    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    sigprocmask(SIG_BLOCK, &block, nullptr);
}

inline void ready() {
    std::printf("READY %d\n", getpid());
}

inline void wait_for_end() {
    sigset_t block, old;
    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    sigprocmask(SIG_BLOCK, &block, &old);
    ready();
    sigdelset(&old, SIGTERM);
    while (!ended()) sigsuspend(&old);
    sigprocmask(SIG_SETMASK, &old, nullptr);
}

[[noreturn]] inline void pass() {
    std::printf("PASS\n");
    std::exit(0);
}
[[noreturn]] __attribute__((format(printf, 1, 2))) inline void fail(const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    std::printf("FAIL: ");
    std::vprintf(format, arguments);
    std::printf("\n");
    va_end(arguments);
    std::exit(1);
}

}  // namespace victim
