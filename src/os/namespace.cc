#include "os/namespace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <span>

#include "os/process.h"

namespace ferry::os {
namespace {

// What the child tells through its pipe: nothing but the failed step, as it may not allocate.
struct Failure {
    int code = 0;
    int step = 0;  // index into NamespaceInit::mounts, or one of the negative values
};
constexpr int kStepEnter = -1, kStepCgroup = -2, kStepHostname = -3, kStepPrivate = -4,
              kStepTime = -5;

[[noreturn]] void report_and_exit(int pipe, int step) noexcept {
    const Failure failure{errno, step};
    [[maybe_unused]] const auto written = ::write(pipe, &failure, sizeof failure);
    ::_exit(1);
}

// Pid 1 gets no signal it has no handler for, except SIGKILL from outside (pid_namespaces(7)), so
// waiting is all there is to do.
[[noreturn]] void reap_for_ever() noexcept {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, nullptr);
    for (;;) {
        while (::waitpid(-1, nullptr, WNOHANG) > 0) {
        }
        int signal = 0;
        ::sigwait(&child, &signal);
    }
}

// The offsets can only be written as long as nobody is in the namespace.
bool enter_time_namespace(const std::string& offsets) noexcept {
    if (::unshare(CLONE_NEWTIME) != 0) return false;
    const int file = ::open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    if (file < 0 || ::write(file, offsets.data(), offsets.size()) < 0) return false;
    const int space = ::open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
    return space >= 0 && ::setns(space, CLONE_NEWTIME) == 0;
}

[[noreturn]] void run_init(const NamespaceInit& init, int pipe, int parent) noexcept {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // The parent may have died before prctl. getppid() cannot tell: from inside it is always 0.
    struct pollfd died = {parent, POLLIN, 0};
    if (::poll(&died, 1, 0) != 0) ::_exit(1);
    for (const int procs : init.cgroup_procs) {
        if (::write(procs, "0", 1) != 1) report_and_exit(pipe, kStepCgroup);
    }
    if (init.inside_of >= 0) {
        if (::setns(init.inside_of, CLONE_NEWNS) != 0) report_and_exit(pipe, kStepEnter);
        if ((init.new_namespaces & CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWNS) != 0) {
            report_and_exit(pipe, kStepEnter);
        }
    }
    if (::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
        report_and_exit(pipe, kStepPrivate);
    }
    int step = 0;
    for (const MountStep& mount : init.mounts) {
        if (mount.make_directory && ::mkdir(mount.target.c_str(), 0755) != 0 && errno != EEXIST) {
            report_and_exit(pipe, step);
        }
        if (!mount.type.empty() &&
            ::mount(mount.source.c_str(), mount.target.c_str(), mount.type.c_str(), mount.flags,
                    mount.data.c_str()) != 0) {
            report_and_exit(pipe, step);
        }
        ++step;
    }
    if (!init.hostname.empty() && ::sethostname(init.hostname.data(), init.hostname.size()) != 0) {
        report_and_exit(pipe, kStepHostname);
    }
    if (!init.clock_offsets.empty() && !enter_time_namespace(init.clock_offsets)) {
        report_and_exit(pipe, kStepTime);
    }
    ::setsid();
    ::prctl(PR_SET_NAME, "init");
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
    // Success is the end of file: the descriptors of the parent, the pipe among them, go here.
    ::syscall(SYS_close_range, 3u, ~0u, 0u);
    reap_for_ever();
}

std::string step_name(const NamespaceInit& init, int step) {
    switch (step) {
        case kStepEnter:
            return "setns(mount namespace)";
        case kStepCgroup:
            return "write(cgroup.procs)";
        case kStepHostname:
            return "sethostname()";
        case kStepPrivate:
            return "mount(/, MS_PRIVATE)";
        case kStepTime:
            return "time namespace";
        default:
            break;
    }
    const auto index = static_cast<std::size_t>(step);
    if (step < 0 || index >= init.mounts.size()) return "namespace init";
    return fmt::format("mount({}, {})", init.mounts[index].type, init.mounts[index].target);
}

}  // namespace

Result<> setns(int fd, int flags) {
    if (::setns(fd, flags) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("setns({}, {:#x})", fd, flags)));
}

Result<UniqueFd> owner_of_namespace(int fd) {
    const int owner = ::ioctl(fd, NS_GET_USERNS);
    if (owner >= 0) return UniqueFd(owner);
    const int code = errno;
    return fail(Error::system(code, "ioctl(NS_GET_USERNS)"));
}

Result<> unshare(int flags) {
    if (::unshare(flags) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("unshare({:#x})", flags)));
}

namespace {

// The child's half does not return here. `pidfd` is written before the child runs.
long clone_init(std::uint64_t flags, unsigned exit_signal, int& pidfd) noexcept {
    struct clone_args arguments = {};
    arguments.flags = flags | CLONE_PIDFD;
    arguments.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
    arguments.exit_signal = exit_signal;
    return ::syscall(SYS_clone3, &arguments, sizeof arguments);
}

// A pid namespace can only be made by a process that lives in the one around it, so a nested one
// takes a process in between. It shares our descriptors, where the pidfd appears, and CLONE_PARENT
// makes the nested one our child.
[[noreturn]] void run_between(const NamespaceInit& init, std::uint64_t flags, int pipe, int parent,
                              int answer) noexcept {
    int pidfd = -1;
    const long pid = clone_init(flags | CLONE_PARENT, 0, pidfd);
    if (pid == 0) run_init(init, pipe, parent);
    const int result = pid < 0 ? -errno : pidfd;
    [[maybe_unused]] const auto written = ::write(answer, &result, sizeof result);
    ::_exit(0);
}

Result<UniqueFd> start_nested(const NamespaceInit& init, std::uint64_t flags, int pipe,
                              int parent) {
    auto [answer_read, answer_write] = TRY(pipe2(0));
    const UniqueFd own_pids = TRY(open("/proc/thread-self/ns/pid", O_RDONLY));
    TRY(setns(init.inside_of, CLONE_NEWPID));
    int between_fd = -1;
    const long between = clone_init(CLONE_FILES, SIGCHLD, between_fd);
    if (between == 0) run_between(init, flags, pipe, parent, answer_write.get());
    const int code = errno;
    TRY(setns(own_pids.get(), CLONE_NEWPID));
    if (between < 0) return fail(Error::system(code, "clone3(CLONE_FILES)"));
    const UniqueFd between_pidfd(between_fd);
    ::waitpid(static_cast<pid_t>(between), nullptr, __WALL);
    int result = -1;
    TRY(read_all(answer_read.get(), std::as_writable_bytes(std::span(&result, 1))));
    if (result < 0) return fail(Error::system(-result, fmt::format("clone3({:#x})", flags)));
    return UniqueFd(result);
}

Result<Pid> pid_of(int pidfd) {
    const std::string info = TRY(read_file(fmt::format("/proc/self/fdinfo/{}", pidfd)));
    const std::size_t at = info.find("\nPid:");
    if (at == std::string::npos) return fail(Error::corrupt("fdinfo of a pidfd has no Pid line"));
    return Pid{static_cast<pid_t>(std::strtol(info.c_str() + at + 5, nullptr, 10))};
}

}  // namespace

Result<NamespaceHolder> start_namespace(const NamespaceInit& init) {
    auto [read_end, write_end] = TRY(pipe2(0));
    const PidFd parent = TRY(PidFd::open(Pid{::getpid()}));
    std::uint64_t flags = init.new_namespaces | CLONE_NEWPID;
    NamespaceHolder holder;
    if (init.inside_of >= 0) {
        // The mount namespace of a nested one is unshared after its parent's was entered.
        flags &= ~static_cast<std::uint64_t>(CLONE_NEWNS);
        holder.pidfd = TRY(start_nested(init, flags, write_end.get(), parent.get()));
    } else {
        int pidfd = -1;
        const long pid = clone_init(flags, SIGCHLD, pidfd);
        if (pid == 0) run_init(init, write_end.get(), parent.get());
        const int code = errno;
        if (pid < 0) return fail(Error::system(code, fmt::format("clone3({:#x})", flags)));
        holder.pidfd = UniqueFd(pidfd);
    }
    holder.pid = TRY(pid_of(holder.pidfd.get()));
    write_end.reset();
    Failure failure;
    const auto bytes = std::as_writable_bytes(std::span(&failure, 1));
    if (TRY(read(read_end.get(), bytes)) == sizeof failure) {
        ::waitpid(holder.pid.value, nullptr, __WALL);
        return fail(Error::system(failure.code, step_name(init, failure.step)));
    }
    return holder;
}

}  // namespace ferry::os
