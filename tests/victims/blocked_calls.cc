// Threads asleep in system calls go on sleeping: nothing returns early, nothing fails.
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "victim.h"

namespace {

std::atomic<int> g_futex{0};
std::atomic<bool> g_finish{false};

double now() {
    timespec t = {};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

void sleep_again_and_again() {
    while (!g_finish) {
        const double start = now();
        const timespec time = {.tv_sec = 0, .tv_nsec = 300'000'000};
        if (nanosleep(&time, nullptr) != 0) victim::fail("nanosleep: %s", std::strerror(errno));
        if (now() - start < 0.3) victim::fail("nanosleep was short");
    }
}

void wait_for_futex() {
    while (g_futex == 0) {
        if (syscall(SYS_futex, &g_futex, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0) != 0 &&
            errno != EAGAIN) {
            victim::fail("futex: %s", std::strerror(errno));
        }
    }
}

void read_pipe(int fd) {
    char byte = 0;
    if (read(fd, &byte, 1) != 1 || byte != 'x') victim::fail("read: %s", std::strerror(errno));
}

// epoll_wait is never restarted by the kernel (signal(7)): a stop may show as EINTR.
void wait_for_epoll(int epoll, int fd) {
    epoll_event event = {.events = EPOLLIN, .data = {.u64 = 7}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    int n = 0;
    do n = epoll_wait(epoll, &event, 1, -1);
    while (n < 0 && errno == EINTR);
    if (n != 1 || event.data.u64 != 7) victim::fail("epoll_wait gave %d", n);
}

}  // namespace

int main() {
    victim::arm();
    int for_read[2], for_epoll[2];
    if (pipe(for_read) != 0 || pipe(for_epoll) != 0) victim::fail("pipe: %s", std::strerror(errno));
    sigset_t end;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &end, nullptr);
    std::thread threads[] = {std::thread(sleep_again_and_again), std::thread(wait_for_futex),
                             std::thread(read_pipe, for_read[0]),
                             std::thread(wait_for_epoll, epoll_create1(0), for_epoll[0])};
    pthread_sigmask(SIG_UNBLOCK, &end, nullptr);
    victim::wait_for_end();
    g_finish = true;
    g_futex = 1;
    syscall(SYS_futex, &g_futex, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    if (write(for_read[1], "x", 1) != 1 || write(for_epoll[1], "x", 1) != 1) victim::fail("write");
    for (std::thread& thread : threads) thread.join();
    victim::pass();
}
