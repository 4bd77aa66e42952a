#include "lab/interrupt.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>

namespace ferry::lab {
namespace {

// Ends the waiting thread.
constexpr int kEnd = SIGUSR2;

sigset_t watched_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, kEnd}) sigaddset(&signals, signal);
    return signals;
}

[[noreturn]] void end(const std::function<void()>& take_down, int signal) {
    if (take_down) take_down();
    // Not exit(): other threads still use what destructors would destroy.
    ::_exit(128 + signal);
}

}  // namespace

InterruptGuard::InterruptGuard() {
    const sigset_t signals = watched_signals();
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    thread_ = std::thread([this] { wait_for_signals(); });
}

InterruptGuard::~InterruptGuard() {
    pthread_kill(thread_.native_handle(), kEnd);
    thread_.join();
    if (pending_ != 0) ::_exit(128 + pending_);
    const sigset_t signals = watched_signals();
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

void InterruptGuard::watch(const World* world) {
    if (world == nullptr) return watch(nullptr);
    watch([world] { world->kill_everything(); });
}

void InterruptGuard::watch(std::function<void()> take_down) {
    const std::lock_guard lock(mutex_);
    take_down_ = std::move(take_down);
    if (pending_ != 0) end(take_down_, pending_);
}

void InterruptGuard::wait_for_signals() {
    const sigset_t signals = watched_signals();
    for (;;) {
        int signal = 0;
        if (sigwait(&signals, &signal) != 0) continue;
        if (signal == kEnd) return;
        const std::lock_guard lock(mutex_);
        if (pending_ == 0) std::fputs("\ninterrupted: taking everything down\n", stderr);
        // Who asks twice does not want to wait; the kernel and the sweeper do the rest.
        if (take_down_ || pending_ != 0) end(take_down_, signal);
        pending_ = signal;
    }
}

}  // namespace ferry::lab
