#include "os/namespace.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "base/cleanup.h"
#include "os/process.h"

namespace ferry::os {
namespace {

// What the child tells through its pipe: nothing but the failed step, as it may not allocate.
struct Failure {
    int code = 0;
    int step = 0;  // index into NamespaceInit::mounts, or one of the negative values
};
constexpr int kStepEnter = -1, kStepCgroup = -2, kStepHostname = -3, kStepPrivate = -4;

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
    ::setsid();
    ::prctl(PR_SET_NAME, "init");
    const int null = ::open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
    // Success is the end of file: the descriptors of the parent, the pipe among them, go here.
    ::syscall(SYS_close_range, 3u, ~0u, 0u);
    reap_for_ever();
}

std::string step_name(const NamespaceInit& init, int step) {
    switch (step) {
        case kStepEnter: return "setns(mount namespace)";
        case kStepCgroup: return "write(cgroup.procs)";
        case kStepHostname: return "sethostname()";
        case kStepPrivate: return "mount(/, MS_PRIVATE)";
        default: break;
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

Result<NamespaceHolder> start_namespace(const NamespaceInit& init) {
    auto [read_end, write_end] = TRY(pipe2(0));
    UniqueFd own_pids;
    if (init.inside_of >= 0) {
        own_pids = TRY(open("/proc/self/ns/pid", O_RDONLY));
        TRY(setns(init.inside_of, CLONE_NEWPID));
    }
    Cleanup pids_of_children_back = [&] {
        if (own_pids) static_cast<void>(::setns(own_pids.get(), CLONE_NEWPID));
    };
    int pidfd = -1;
    struct clone_args arguments = {};
    arguments.flags = init.new_namespaces | CLONE_NEWPID | CLONE_PIDFD;
    // The mount namespace of a nested one is unshared after its parent's was entered.
    if (init.inside_of >= 0) arguments.flags &= ~static_cast<std::uint64_t>(CLONE_NEWNS);
    arguments.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
    arguments.exit_signal = SIGCHLD;
    const PidFd parent = TRY(PidFd::open(Pid{::getpid()}));
    const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0) run_init(init, write_end.get(), parent.get());
    if (pid < 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("clone3({:#x})", arguments.flags)));
    }
    NamespaceHolder holder{Pid{static_cast<pid_t>(pid)}, UniqueFd(pidfd)};
    write_end.reset();
    Failure failure;
    const auto bytes = std::as_writable_bytes(std::span(&failure, 1));
    const std::size_t got = TRY(read(read_end.get(), bytes));
    if (got == sizeof failure) {
        ::waitpid(holder.pid.value, nullptr, __WALL);
        return fail(Error::system(failure.code, step_name(init, failure.step)));
    }
    return holder;
}

}  // namespace ferry::os
