#include "os/launch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <span>

#include "base/cleanup.h"
#include "os/namespace.h"

namespace ferry::os {
namespace {

struct Failure {
    int code = 0;
    int step = 0;
};
constexpr std::array<const char*, 4> kSteps = {"join the cgroup of", "enter the namespaces of",
                                               "change to the directory of", "exec"};

[[noreturn]] void report_and_exit(int pipe, int step) noexcept {
    const Failure failure{errno, step};
    [[maybe_unused]] const auto written = ::write(pipe, &failure, sizeof failure);
    ::_exit(127);
}

// What becomes 0, 1, 2, ...; -1: /dev/null.
std::vector<int> wanted_descriptors(const Launch& launch) {
    std::vector<int> wanted = {launch.stdin_fd, launch.stdout_fd, launch.stderr_fd};
    wanted.insert(wanted.end(), launch.passed.begin(), launch.passed.end());
    return wanted;
}

// First away from their new numbers, so that none is overwritten before it is used. `copies` are
// overwritten. Not all descriptors of a program are its own: some come from whoever started it.
void place_descriptors(std::span<int> copies) noexcept {
    const int count = static_cast<int>(copies.size());
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int& copy : copies) copy = ::fcntl(copy < 0 ? null : copy, F_DUPFD_CLOEXEC, count);
    for (int i = 0; i < count; ++i) ::dup2(copies[static_cast<std::size_t>(i)], i);
    ::syscall(SYS_close_range, static_cast<unsigned>(count), ~0u, CLOSE_RANGE_CLOEXEC);
}

// Runs in the child of a possibly threaded process: nothing here allocates or locks (I7).
[[noreturn]] void run_program(const Launch& launch, std::span<char* const> arguments,
                              std::span<int> descriptors, int pipe) noexcept {
    for (const int procs : launch.cgroup_procs) {
        if (::write(procs, "0", 1) != 1) report_and_exit(pipe, 0);
    }
    // The pid namespace was chosen by the parent, it cannot be entered by an existing process.
    const int enter = launch.namespaces & ~CLONE_NEWPID;
    if (enter != 0 && ::setns(launch.namespaces_of, enter) != 0) report_and_exit(pipe, 1);
    if (::chdir(launch.directory.c_str()) != 0) report_and_exit(pipe, 2);
    ::setsid();
    // The pipe is closed by exec and must not be in the way.
    pipe = ::fcntl(pipe, F_DUPFD_CLOEXEC, static_cast<int>(descriptors.size()));
    place_descriptors(descriptors);
    for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    if (launch.dies_with_parent) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::execvp(arguments[0], arguments.data());
    report_and_exit(pipe, 3);
}

}  // namespace

Result<std::pair<ChildProcess, bool>> ChildProcess::clone() {
    int pidfd = -1;
    struct clone_args arguments = {};
    arguments.flags = CLONE_PIDFD;
    arguments.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
    arguments.exit_signal = SIGCHLD;
    const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0) return std::pair(ChildProcess(), true);
    if (pid < 0) {
        const int code = errno;
        return fail(Error::system(code, "clone3()"));
    }
    return std::pair(ChildProcess(Pid{static_cast<pid_t>(pid)}, UniqueFd(pidfd)), false);
}

Result<ChildProcess> ChildProcess::start(const Launch& launch) {
    std::vector<std::string> copies = launch.arguments;
    std::vector<char*> arguments;
    for (std::string& argument : copies) arguments.push_back(argument.data());
    arguments.push_back(nullptr);

    std::vector<int> descriptors = wanted_descriptors(launch);

    auto [read_end, write_end] = TRY(pipe2(0));
    UniqueFd own_pids;
    if ((launch.namespaces & CLONE_NEWPID) != 0) {
        own_pids = TRY(open("/proc/thread-self/ns/pid", O_RDONLY));
        TRY(setns(launch.namespaces_of, CLONE_NEWPID));
    }
    Cleanup pids_of_children_back = [&] {
        if (own_pids) static_cast<void>(::setns(own_pids.get(), CLONE_NEWPID));
    };
    ChildProcess child =
        TRY(fork([&] { run_program(launch, arguments, descriptors, write_end.get()); }));
    write_end.reset();
    Failure failure;
    if (TRY(read(read_end.get(), std::as_writable_bytes(std::span(&failure, 1)))) ==
        sizeof failure) {
        const auto step = static_cast<std::size_t>(failure.step) % kSteps.size();
        return fail(
            Error::system(failure.code, fmt::format("{} {}", kSteps[step], launch.arguments[0])));
    }
    return child;
}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
    ChildProcess taken(std::move(other));
    std::swap(pid_, taken.pid_);
    std::swap(pidfd_, taken.pidfd_);
    return *this;
}

ChildProcess::~ChildProcess() {
    if (!pidfd_) return;
    ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
    while (::waitpid(pid_.value, nullptr, __WALL) < 0 && errno == EINTR) {
    }
}

Result<> ChildProcess::send_signal(int signal) const {
    if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0) == 0) return {};
    const int code = errno;
    if (code == ESRCH) return fail(Error::gone(fmt::format("process {}", pid_)));
    return fail(Error::system(code, fmt::format("pidfd_send_signal({}, {})", pid_, signal)));
}

Result<std::optional<int>> ChildProcess::wait(std::chrono::milliseconds timeout) {
    struct pollfd poll = {pidfd_.get(), POLLIN, 0};
    const auto end = std::chrono::steady_clock::now() + timeout;
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            end - std::chrono::steady_clock::now());
        const int ready = ::poll(&poll, 1, static_cast<int>(std::max<long>(left.count(), 0)));
        if (ready > 0) break;
        if (ready == 0) return std::nullopt;
        const int code = errno;
        if (code != EINTR) return fail(Error::system(code, "poll(pidfd)"));
    }
    int status = 0;
    while (::waitpid(pid_.value, &status, __WALL) < 0) {
        const int code = errno;
        if (code != EINTR) return fail(Error::system(code, fmt::format("waitpid({})", pid_)));
    }
    pidfd_.reset();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace ferry::os
