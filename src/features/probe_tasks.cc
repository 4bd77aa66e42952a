#include <fcntl.h>
#include <fmt/format.h>
#include <linux/aio_abi.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>

#include "features/probes.h"
#include "os/fd.h"
#include "os/launch.h"
#include "os/process.h"
#include "os/ptrace.h"
#include "os/raw_syscall.h"

namespace ferry::features {
namespace {

constexpr int kTimerCreateRestoreIds = 77;  // PR_TIMER_CREATE_RESTORE_IDS, Linux 6.15
constexpr int kTimerCreateRestoreIdsGet = 2;
constexpr int kArchMapVdso64 = 0x2003;

// A child that sleeps until it is killed.
Result<os::ChildProcess> sleeper() {
    return os::ChildProcess::fork([] {
        for (;;) ::pause();
    });
}

// Runs `attempt` on a sleeping child that is seized and stopped.
template <class Attempt>
Result<> on_stopped_child(Attempt attempt) {
    const auto child = TRY(sleeper());
    const Tid tid = leader_of(child.pid());
    TRY(os::ptrace_seize(tid, 0));
    TRY(os::ptrace_interrupt(tid));
    TRY(os::wait_blocking(tid));
    return attempt(tid);
}

Result<> seize() {
    return on_stopped_child([](Tid) -> Result<> { return {}; });
}

Result<> rseq_configuration() {
    return on_stopped_child(
        [](Tid tid) { return succeeded(os::ptrace_get_rseq_configuration(tid)); });
}

Result<> suspend_seccomp() {
    return on_stopped_child(
        [](Tid tid) { return os::ptrace_set_options(tid, PTRACE_O_SUSPEND_SECCOMP); });
}

Result<> seccomp_filters() {
    // The child has no filters, which the kernel says in one way or the other; EIO is an unknown
    // request.
    return on_stopped_child([](Tid tid) {
        const auto read = os::raw_syscall("ptrace(PTRACE_SECCOMP_GET_FILTER)", SYS_ptrace,
                                          PTRACE_SECCOMP_GET_FILTER, tid.value, 0, nullptr);
        if (!read && read.error().code() == EINVAL) return Result<>{};
        return fails_with(read, ENOENT);
    });
}

Result<> pidfd_getfd() {
    const auto self = TRY(os::PidFd::open(Pid{::getpid()}));
    const auto fd = TRY(os::memfd_create("ferry-probe", 0));
    return succeeded(self.getfd(fd.get()));
}

// A child with a pid that we choose. A free one is found by trying.
Result<> choose_pid() {
    const pid_t highest = std::stoi(TRY(os::read_file("/proc/sys/kernel/pid_max"))) - 1;
    constexpr int kAttempts = 64;
    Result<> last;
    for (int i = 0; i < kAttempts; ++i) {
        pid_t wanted = highest - i;
        clone_args arguments = {};
        arguments.exit_signal = SIGCHLD;
        arguments.set_tid = reinterpret_cast<std::uint64_t>(&wanted);
        arguments.set_tid_size = 1;
        const auto child = os::raw_syscall(fmt::format("clone3(set_tid {})", wanted), SYS_clone3,
                                           &arguments, sizeof(arguments));
        if (child && *child == 0) ::_exit(0);
        if (child) {
            TRY(os::wait_blocking(Tid{wanted}));
            return {};
        }
        last = fail(child.error());
        if (last.error().code() != EEXIST) return last;
    }
    return last;
}

Result<> compare_files() {
    const auto fd = TRY(os::memfd_create("ferry-probe", 0));
    const pid_t self = ::getpid();
    TRY(os::raw_syscall("kcmp(KCMP_FILE)", SYS_kcmp, self, self, KCMP_FILE, fd.get(), fd.get()));
    return {};
}

Result<> compare_epoll_target() {
    const os::UniqueFd epoll(static_cast<int>(
        TRY(os::raw_syscall("epoll_create1()", SYS_epoll_create1, EPOLL_CLOEXEC))));
    const auto pipe = TRY(os::pipe2(0));
    const int target = pipe.first.get();
    epoll_event event = {.events = EPOLLIN, .data = {.u64 = 0}};
    TRY(os::raw_syscall("epoll_ctl()", SYS_epoll_ctl, epoll.get(), EPOLL_CTL_ADD, target, &event));
    const kcmp_epoll_slot slot = {
        .efd = static_cast<__u32>(epoll.get()), .tfd = static_cast<__u32>(target), .toff = 0};
    const pid_t self = ::getpid();
    const auto order = TRY(os::raw_syscall("kcmp(KCMP_EPOLL_TFD)", SYS_kcmp, self, self,
                                           KCMP_EPOLL_TFD, target, &slot));
    if (order != 0) return missing("kcmp(KCMP_EPOLL_TFD) does not find the file");
    return {};
}

Result<> timer_ids() {
    return succeeded(os::raw_syscall("prctl(PR_TIMER_CREATE_RESTORE_IDS)", SYS_prctl,
                                     kTimerCreateRestoreIds, kTimerCreateRestoreIdsGet, 0, 0, 0));
}

Result<> map_vdso() {
    // There is one already, which is the only thing that may be wrong with the call.
    return fails_with(
        os::raw_syscall("arch_prctl(ARCH_MAP_VDSO_64)", SYS_arch_prctl, kArchMapVdso64, 0), EEXIST);
}

Result<> user_namespaces() {
    return in_child("unshare(CLONE_NEWUSER)",
                    [] { return ::unshare(CLONE_NEWUSER) == 0 ? 0 : errno; });
}

Result<> time_namespaces() {
    TRY(exists("/proc/self/ns/time_for_children"));
    return exists("/proc/self/timens_offsets");
}

Result<> cgroup_namespaces() {
    return exists("/proc/self/ns/cgroup");
}

Result<> login_uid() {
    TRY(os::read_file("/proc/self/loginuid"));
    // It can be locked by the audit system, so it is tried on a process that does not matter.
    return in_child("write to /proc/self/loginuid", [] {
        char value[16];
        // After a fork nothing may allocate, as os::open does. NOLINTNEXTLINE(tidy)
        const int fd = ::open("/proc/self/loginuid", O_RDWR | O_CLOEXEC);
        if (fd < 0) return errno;
        const ssize_t size = ::read(fd, value, sizeof value);
        if (size <= 0) return EIO;
        return ::pwrite(fd, value, static_cast<std::size_t>(size), 0) == size ? 0 : errno;
    });
}

Result<> namespace_pids() {
    if (TRY(os::read_file("/proc/self/status")).find("\nNSpid:") != std::string::npos) return {};
    return missing("/proc/self/status has no NSpid");
}

Result<> proc_children() {
    return exists(fmt::format("/proc/self/task/{}/children", ::getpid()).c_str());
}

// The ring of an aio context is a mapping whose address is the context's id; it must be possible to
// move it to where it was.
Result<> move_aio_ring() {
    return in_child("mremap() of an aio ring", [] {
        aio_context_t context = 0;
        if (::syscall(SYS_io_setup, 1, &context) != 0) return errno;
        void* const room = ::mmap(nullptr, 1 << 16, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        void* const moved = ::mremap(reinterpret_cast<void*>(context), 1 << 12, 1 << 12,
                                     MREMAP_MAYMOVE | MREMAP_FIXED, room);
        if (moved == MAP_FAILED) return errno;
        timespec none = {};
        if (::syscall(SYS_io_getevents, moved, 0, 1, nullptr, &none) != 0) return errno;
        return 0;
    });
}

Result<> apparmor_stacking() {
    const auto value = os::read_file("/sys/kernel/security/apparmor/features/domain/stack");
    if (!value) return fail(value.error());
    if (value->starts_with("yes")) return {};
    return missing("AppArmor does not stack profiles");
}

constexpr Probe kProbes[] = {
    {"ptrace_seize", "stop threads without a signal", Need::Always, seize},
    {"get_rseq_conf", "carry restartable sequences (Linux 5.13)", Need::Always, rseq_configuration},
    {"pidfd_getfd", "look at open files from outside (Linux 5.6)", Need::Always, pidfd_getfd},
    {"clone3_set_tid", "create tasks with given pids (Linux 5.5)", Need::Always, choose_pid},
    {"kcmp", "find files that are shared", Need::Always, compare_files},
    {"kcmp_epoll", "find what an epoll watches", Need::Always, compare_epoll_target},
    {"proc_children", "find the tree", Need::Always, proc_children},
    {"ns_pid", "pids inside a pid namespace", Need::Some, namespace_pids},
    {"can_map_vdso", "place the vdso where it was", Need::Some, map_vdso},
    {"timer_cr_ids", "POSIX timers with their ids at once (Linux 6.15)", Need::Some, timer_ids},
    {"seccomp_filters", "seccomp filters", Need::Some, seccomp_filters},
    {"seccomp_suspend", "restore under seccomp", Need::Some, suspend_seccomp},
    {"aio_remap", "aio contexts", Need::Some, move_aio_ring},
    {"loginuid", "the audit login uid", Need::Some, login_uid},
    {"userns", "user namespaces", Need::Some, user_namespaces},
    {"timens", "clocks that go on: time namespaces (Linux 5.6)", Need::Some, time_namespaces},
    {"cgroupns", "cgroup namespaces", Need::Some, cgroup_namespaces},
    {"apparmor_stacking", "stacked AppArmor profiles", Need::Some, apparmor_stacking},
    {"pidfd_store", "stable references to processes between pre-dumps", Need::Some, pidfd_getfd},
};

}  // namespace

std::span<const Probe> task_probes() {
    return kProbes;
}

}  // namespace ferry::features
