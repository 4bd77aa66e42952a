#include "os/process.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string>

namespace ferry::os {

Result<PidFd> PidFd::open(Pid pid) {
    const long fd = ::syscall(SYS_pidfd_open, pid.value, 0);
    if (fd < 0) {
        const int code = errno;
        if (code == ESRCH) return fail(Error::gone(fmt::format("process {} does not exist", pid)));
        return fail(Error::system(code, fmt::format("pidfd_open({})", pid)));
    }
    return PidFd(UniqueFd(static_cast<int>(fd)));
}

Result<> PidFd::send_signal(int signal) const {
    if (::syscall(SYS_pidfd_send_signal, fd_.get(), signal, nullptr, 0) == 0) return {};
    const int code = errno;
    if (code == ESRCH) return fail(Error::gone("the process has ended"));
    return fail(Error::system(code, fmt::format("pidfd_send_signal({})", signal)));
}

Result<UniqueFd> PidFd::getfd(int remote_fd) const {
    const long fd = ::syscall(SYS_pidfd_getfd, fd_.get(), remote_fd, 0);
    if (fd < 0) {
        const int code = errno;
        if (code == ESRCH) return fail(Error::gone("the process has ended"));
        return fail(Error::system(code, fmt::format("pidfd_getfd({})", remote_fd)));
    }
    return UniqueFd(static_cast<int>(fd));
}

Result<bool> PidFd::wait_exit(std::chrono::milliseconds timeout) const {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        pollfd poll_fd = {.fd = fd_.get(), .events = POLLIN, .revents = 0};
        const int n = ::poll(&poll_fd, 1, static_cast<int>(std::max<long>(0, left.count())));
        if (n > 0) return true;
        if (n == 0) return false;
        const int code = errno;
        if (code != EINTR) return fail(Error::system(code, "poll(pidfd)"));
    }
}

Result<std::chrono::nanoseconds> processor_time(Pid pid) {
    clockid_t clock = 0;
    timespec time = {};
    // Both fail for a process that is gone: the first where it is, the second where it ends
    // between.
    if (::clock_getcpuclockid(pid.value, &clock) != 0 || ::clock_gettime(clock, &time) != 0) {
        return fail(Error::gone(fmt::format("process {} does not exist", pid)));
    }
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

Result<std::vector<ProcessEntry>> process_entries() {
    std::vector<ProcessEntry> processes;
    for (const DirectoryEntry& entry : TRY(directory_entries(kCwd, "/proc"))) {
        Pid pid;
        const char* end = entry.name.data() + entry.name.size();
        const auto [stop, error] = std::from_chars(entry.name.data(), end, pid.value);
        if (error == std::errc() && stop == end) {
            processes.push_back({.pid = pid, .inode = entry.inode});
        }
    }
    return processes;
}

Result<> kill(Pid pid, int signal) {
    if (::kill(pid.value, signal) == 0) return {};
    const int code = errno;
    if (code == ESRCH) return fail(Error::gone(fmt::format("process {} does not exist", pid)));
    return fail(Error::system(code, fmt::format("kill({}, {})", pid, signal)));
}

Result<struct rlimit64> prlimit(Pid pid, int resource) {
    struct rlimit64 limit = {};
    if (::prlimit64(pid.value, static_cast<__rlimit_resource>(resource), nullptr, &limit) != 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("prlimit({}, {})", pid, resource)));
    }
    return limit;
}

Result<> set_prlimit(Pid pid, int resource, const struct rlimit64& limit) {
    if (::prlimit64(pid.value, static_cast<__rlimit_resource>(resource), &limit, nullptr) != 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("prlimit({}, {}, {}:{})", pid, resource,
                                                    limit.rlim_cur, limit.rlim_max)));
    }
    return {};
}

}  // namespace ferry::os
