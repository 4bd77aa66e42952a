// pidfds of threads (PIDFD_THREAD) still are of their threads, one that has ended included; what a
// pidfd tells about a process that was waited for (PIDFD_INFO_EXIT) is still told.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <semaphore>
#include <thread>

#include "victim.h"

namespace {

constexpr unsigned kThread = O_EXCL;  // PIDFD_THREAD, Linux 6.9

int open_pidfd(pid_t pid, unsigned flags) {
    const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, flags));
    if (fd < 0) victim::fail("pidfd_open(%#x): %d", flags, errno);
    return fd;
}

// linux/pidfd.h of Linux 6.13.
struct Info {
    std::uint64_t mask, cgroup;
    std::uint32_t ids[11];
    std::int32_t exit_code;
};

// Of kernels that do not tell: -1.
int exit_code(int fd) {
    Info info = {8, 0, {}, 0};
    const bool told = ioctl(fd, _IOWR(0xff, 11, Info), &info) == 0 && (info.mask & 8) != 0;
    return told ? info.exit_code : -1;
}

int poll_within(int fd, int milliseconds) {
    pollfd asked = {fd, POLLIN, 0};
    poll(&asked, 1, milliseconds);
    return asked.revents;
}

int gone_child(int status) {
    const pid_t pid = fork();
    if (pid == 0 && status < 0) raise(SIGKILL);
    if (pid == 0) _exit(status);
    const int fd = open_pidfd(pid, 0);
    waitpid(pid, nullptr, 0);
    return fd;
}

std::binary_semaphore g_end{0};
std::atomic<pid_t> g_tid = 0;

}  // namespace

int main() {
    victim::arm();
    victim::leave_signal_to_main();
    const int exited = gone_child(42), killed = gone_child(-1);
    const int codes[] = {exit_code(exited), exit_code(killed)};
    std::atomic<int> of_ended = -1;
    std::thread short_lived([&] { of_ended = open_pidfd(gettid(), kThread); });
    short_lived.join();
    if (poll_within(of_ended, 10000) == 0) victim::fail("the ended thread lives");
    std::thread waiting([] {
        g_tid = gettid();
        g_end.acquire();
    });
    while (g_tid == 0) std::this_thread::yield();
    const int of_thread = open_pidfd(g_tid, kThread), of_main = open_pidfd(getpid(), kThread);
    victim::wait_for_end();
    if (exit_code(exited) != codes[0] || exit_code(killed) != codes[1]) {
        victim::fail("wait statuses: %#x, %#x", exit_code(exited), exit_code(killed));
    }
    if (poll_within(of_ended, 0) != (POLLIN | POLLHUP)) victim::fail("the ended thread");
    if (poll_within(of_thread, 0) != 0 || poll_within(of_main, 0) != 0) victim::fail("too early");
    if ((fcntl(of_thread, F_GETFL) & O_EXCL) == 0) victim::fail("no PIDFD_THREAD");
    g_end.release();
    waiting.join();
    if (poll_within(of_thread, 10000) == 0) victim::fail("the thread's end is not seen");
    victim::pass();
}
