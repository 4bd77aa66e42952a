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

}  // namespace

InterruptGuard::InterruptGuard() {
    const sigset_t signals = watched_signals();
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    thread_ = std::thread([this] { wait_for_signal(); });
}

InterruptGuard::~InterruptGuard() {
    pthread_kill(thread_.native_handle(), kEnd);
    thread_.join();
    const sigset_t signals = watched_signals();
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

void InterruptGuard::wait_for_signal() const {
    const sigset_t signals = watched_signals();
    int signal = 0;
    while (sigwait(&signals, &signal) != 0) {
    }
    if (signal == kEnd) return;
    std::fputs("\ninterrupted: taking everything down\n", stderr);
    const World* world = world_;
    if (world != nullptr) world->kill_everything();
    // Not exit(): other threads still use what destructors would destroy.
    ::_exit(128 + signal);
}

}  // namespace ferry::lab
