#include "resources/process_state.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "os/process.h"
#include "os/ptrace.h"
#include "resources/seccomp.h"

namespace ferry::resources {
namespace {

constexpr std::uint64_t kSignalSetBytes = 8;

struct KernelSigaction {
    std::uint64_t handler = 0, flags = 0, restorer = 0, mask = 0;
};
struct KernelTimeval {
    std::uint64_t seconds = 0, microseconds = 0;
};
struct KernelItimerval {
    KernelTimeval interval, value;
};
struct KernelTimespec {
    std::uint64_t seconds = 0, nanoseconds = 0;
};
struct KernelItimerspec {
    KernelTimespec interval, value;
};

std::uint64_t microseconds(const KernelTimeval& time) {
    return time.seconds * 1'000'000 + time.microseconds;
}
std::uint64_t nanoseconds(const KernelTimespec& time) {
    return time.seconds * 1'000'000'000 + time.nanoseconds;
}

// A signal with the default action needs no question, except SIGCHLD, whose flags (SA_NOCLDWAIT)
// hold even then.
Result<> ask_actions(trace::Questions& questions, const proc::Status& status,
                     std::array<model::SignalAction, model::kSignals>& actions) {
    const std::uint64_t changed = status.caught | status.ignored | 1ull << (SIGCHLD - 1);
    for (int signal = 1; signal <= model::kSignals; ++signal) {
        auto& action = actions[static_cast<std::size_t>(signal - 1)];
        action = {};
        if ((changed >> (signal - 1) & 1) == 0) continue;
        TRY(questions.ask<KernelSigaction>(
            SYS_rt_sigaction, {static_cast<std::uint64_t>(signal), 0, 0, kSignalSetBytes}, 2,
            [&action](const KernelSigaction& raw) {
                action = {.handler = raw.handler,
                          .flags = raw.flags,
                          .restorer = raw.restorer,
                          .mask = raw.mask};
            }));
    }
    return {};
}

Result<> ask_interval_timers(trace::Questions& questions,
                             std::array<model::IntervalTimer, 3>& timers) {
    for (std::uint64_t which = 0; which < timers.size(); ++which) {
        auto& timer = timers[which];
        const auto take = [&timer](const KernelItimerval& raw) {
            timer = {.interval_us = microseconds(raw.interval),
                     .value_us = microseconds(raw.value)};
            // It has expired, and the kernel starts it anew when its signal, which is pending, is
            // taken (kernel/time/itimer.c). Elsewhere it has to be running already.
            if (timer.value_us == 0) timer.value_us = timer.interval_us;
        };
        TRY(questions.ask<KernelItimerval>(SYS_getitimer, {which}, 1, take));
    }
    return {};
}

Result<> ask_posix_timers(trace::Questions& questions, const std::vector<proc::TimerLine>& lines,
                          std::vector<model::PosixTimer>& timers) {
    // All first: the answers go to elements of the vector.
    timers.clear();
    for (const proc::TimerLine& line : lines) {
        const bool to_thread = (line.notify & SIGEV_THREAD_ID) != 0;
        timers.push_back({.id = line.id,
                          .clock = line.clock,
                          .notify = line.notify,
                          .signal = line.signal,
                          .value = line.value,
                          .notify_tid = to_thread ? line.target : 0});
    }
    for (model::PosixTimer& timer : timers) {
        const auto id = static_cast<std::uint64_t>(timer.id);
        TRY(questions.ask<KernelItimerspec>(SYS_timer_gettime, {id}, 1,
                                            [&timer](const KernelItimerspec& raw) {
                                                timer.interval_ns = nanoseconds(raw.interval);
                                                timer.value_ns = nanoseconds(raw.value);
                                            }));
        TRY(questions.ask_result(SYS_timer_getoverrun, id, [&timer](std::uint64_t overrun) {
            timer.overrun = static_cast<int>(overrun);
        }));
    }
    return {};
}

}  // namespace

Result<model::NamespaceIds> namespaces_of(const proc::ProcessDirectory& directory) {
    return model::NamespaceIds{.mnt = TRY(directory.namespace_id("mnt")),
                               .net = TRY(directory.namespace_id("net")),
                               .pid = TRY(directory.namespace_id("pid")),
                               .uts = TRY(directory.namespace_id("uts")),
                               .ipc = TRY(directory.namespace_id("ipc")),
                               .user = TRY(directory.namespace_id("user")),
                               .cgroup = TRY(directory.namespace_id("cgroup")),
                               .time = TRY(directory.namespace_id("time"))};
}

Result<> collect_attributes(Pid pid, const proc::ProcessDirectory& directory,
                            model::Process& process) {
    process.personality = TRY(directory.personality());
    process.oom_score_adj = TRY(directory.oom_score_adj());
    process.core_filter = TRY(directory.core_filter());
    process.namespaces = TRY(namespaces_of(directory));
    process.cgroups.clear();
    for (proc::CgroupLine& line : TRY(directory.cgroups())) {
        process.cgroups.push_back(
            {.controllers = std::move(line.controllers), .path = std::move(line.path)});
    }
    // Not prlimit(2): that wants CAP_SYS_RESOURCE for a task of another user. The lines stand in
    // the order of the numbers (kernel: fs/proc/base.c, lnames).
    const std::vector<proc::Limit> limits = TRY(directory.limits());
    if (limits.size() < process.limits.size()) {
        return fail(Error::corrupt(fmt::format("process {} shows {} limits", pid, limits.size())));
    }
    for (std::size_t resource = 0; resource < process.limits.size(); ++resource) {
        process.limits[resource] = {.soft = limits[resource].soft, .hard = limits[resource].hard};
    }
    return {};
}

Result<> collect_pending(const trace::Tracee& stopped, model::Process& process) {
    process.pending = TRY(stopped.pending_signals(os::SignalQueue::Process));
    return {};
}

Result<> ask_process(trace::Questions& questions, const proc::ProcessDirectory& directory,
                     model::Process& process) {
    const proc::Status status = TRY(directory.status());
    process.umask = status.umask;
    TRY(ask_actions(questions, status, process.actions));
    TRY(ask_interval_timers(questions, process.interval_timers));
    TRY(ask_posix_timers(questions, TRY(directory.timers()), process.posix_timers));

    model::AddressSpace& space = process.address_space;
    space.thp_disabled = !status.thp_enabled;
    TRY(questions.ask<int>(SYS_prctl, {PR_GET_CHILD_SUBREAPER}, 1,
                           [&](int subreaper) { process.child_subreaper = subreaper != 0; }));
    TRY(questions.ask_result(SYS_prctl, PR_GET_DUMPABLE, [&](std::uint64_t dumpable) {
        space.dumpable = static_cast<int>(dumpable);
    }));
    // brk(0) changes nothing and returns the current end, which /proc does not show exactly.
    TRY(questions.ask_result(SYS_brk, 0, [&](std::uint64_t brk) { space.layout.brk = brk; }));
    return {};
}

// By itself: its second argument is in the way of an answer to Questions.
Result<> ask_registrations(trace::RemoteCalls& calls, model::Process& process) {
    constexpr std::uint64_t kGetRegistrations = 1 << 9;
    if (!survives(process.seccomp, SYS_membarrier)) return {};
    const auto registered = calls.call(SYS_membarrier, {kGetRegistrations, 0, 0});
    // Kernels before 6.3.
    if (!registered && registered.error().kind() == Error::Kind::System) return {};
    process.membarrier = static_cast<std::uint32_t>(TRY(registered));
    return {};
}

}  // namespace ferry::resources
