// pidfds still are of the processes that they were of: of one that runs, of this one, of a zombie,
// of one that is long gone (two of these are of the same); poll, epoll and waitid(2) say so.
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "victim.h"

namespace {

int open_pidfd(pid_t pid, unsigned flags) {
    const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, flags));
    if (fd < 0) victim::fail("pidfd_open: %d", errno);
    return fd;
}

pid_t child(int status) {
    const pid_t pid = fork();
    if (pid < 0) victim::fail("fork: %d", errno);
    if (pid != 0) return pid;
    if (status < 0) pause();
    _exit(status);
}

int poll_now(int fd) {
    pollfd asked = {fd, POLLIN, 0};
    poll(&asked, 1, 0);
    return asked.revents;
}

// "Pid:" of its fdinfo.
long shown(int fd) {
    char path[64], text[512] = {};
    std::snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    const int file = open(path, O_RDONLY);
    if (read(file, text, sizeof(text) - 1) <= 0) victim::fail("fdinfo");
    close(file);
    const char* line = std::strstr(text, "\nPid:");
    return line == nullptr ? 0 : std::strtol(line + 5, nullptr, 10);
}

void expect(int fd, const char* name, long pid, int events) {
    if (shown(fd) != pid) victim::fail("%s is of %ld, not %ld", name, shown(fd), pid);
    if (poll_now(fd) != events) victim::fail("%s: poll says %#x", name, poll_now(fd));
}

void expect_end(int fd, const char* name, int code, int status) {
    siginfo_t info = {};
    if (waitid(P_PIDFD, static_cast<id_t>(fd), &info, WEXITED) != 0 || info.si_code != code ||
        info.si_status != status) {
        victim::fail("%s: waitid says %d, %d (%d)", name, info.si_code, info.si_status, errno);
    }
}

}  // namespace

int main() {
    victim::arm();
    const pid_t running = child(-1), ended = child(7), gone = child(3);
    const int of_running = open_pidfd(running, O_NONBLOCK), of_ended = open_pidfd(ended, 0),
              of_self = open_pidfd(getpid(), 0), of_gone = open_pidfd(gone, 0),
              again = open_pidfd(gone, O_NONBLOCK), copy = dup(of_running);
    waitpid(gone, nullptr, 0);
    pollfd end = {of_ended, POLLIN, 0};
    poll(&end, 1, -1);
    const int epoll = epoll_create1(0);
    epoll_event event = {EPOLLIN, {.fd = of_running}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, of_running, &event);
    victim::wait_for_end();
    expect(of_running, "the running child", running, 0);
    expect(of_self, "itself", getpid(), 0);
    expect(of_ended, "the zombie", ended, POLLIN);
    expect(of_gone, "the one that is gone", -1, POLLIN | POLLHUP);
    expect(again, "the one that is gone", -1, POLLIN | POLLHUP);
    if (fcntl(copy, F_GETFL) != fcntl(of_running, F_GETFL) ||
        (fcntl(of_running, F_GETFL) & O_NONBLOCK) == 0 || (fcntl(of_ended, F_GETFL) & O_NONBLOCK)) {
        victim::fail("flags");
    }
    if (syscall(SYS_pidfd_send_signal, of_gone, 0, nullptr, 0) != -1 || errno != ESRCH) {
        victim::fail("a signal to the one that is gone: %d", errno);
    }
    expect_end(of_ended, "the zombie", CLD_EXITED, 7);
    if (epoll_wait(epoll, &event, 1, 0) != 0) victim::fail("epoll is early");
    if (syscall(SYS_pidfd_send_signal, copy, SIGUSR1, nullptr, 0) != 0) victim::fail("signal");
    if (epoll_wait(epoll, &event, 1, 10000) != 1 || event.data.fd != of_running) {
        victim::fail("epoll does not see the end");
    }
    expect_end(copy, "the running child", CLD_KILLED, SIGUSR1);
    victim::pass();
}
