#include "resources/thread_state.h"

#include <fmt/format.h>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <bit>

#include "arch/signal_frame.h"
#include "os/ptrace.h"
#include "os/schedule.h"
#include "os/task.h"
#include "proc/process_directory.h"
#include "resources/seccomp.h"
#include "trace/remote_calls.h"

#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif

namespace ferry::resources {
namespace {

struct KernelStack {  // stack_t
    std::uint64_t address = 0;
    std::uint32_t flags = 0, padding = 0;
    std::uint64_t size = 0;
};
// sigaltstack(2): whether the thread runs on the alternate stack right now is no setting.
constexpr std::uint32_t kOnStack = 1;

Result<model::Scheduling> scheduling_of(const proc::Stat& stat, Tid tid) {
    model::Scheduling scheduling = {.policy = TRY(os::sched_getscheduler(tid)),
                                    .nice = static_cast<int>(stat.nice),
                                    .priority = static_cast<int>(stat.rt_priority),
                                    .affinity = TRY(os::sched_getaffinity(tid)),
                                    .io_priority = TRY(os::io_priority_of(tid))};
    TRY(check_policy(tid, stat));
    if (is_unrestricted(scheduling.affinity, os::online_cpus())) scheduling.affinity.clear();
    return scheduling;
}

}  // namespace

bool is_unrestricted(const std::vector<std::uint8_t>& cpu_mask, int online_cpus) {
    int allowed = 0;
    for (const std::uint8_t byte : cpu_mask) allowed += std::popcount(byte);
    return allowed >= online_cpus;
}

Result<> check_policy(Tid tid, const proc::Stat& stat) {
    if (stat.policy != SCHED_DEADLINE) return {};
    return fail(Error::unsupported(
        fmt::format("thread {} runs by deadlines (SCHED_DEADLINE), which is not carried", tid)));
}

model::Credentials credentials_of(const proc::Status& status) {
    return {.uid = status.uids[0],
            .euid = status.uids[1],
            .suid = status.uids[2],
            .fsuid = status.uids[3],
            .gid = status.gids[0],
            .egid = status.gids[1],
            .sgid = status.gids[2],
            .fsgid = status.gids[3],
            .groups = status.groups,
            .cap_inheritable = status.cap_inheritable,
            .cap_permitted = status.cap_permitted,
            .cap_effective = status.cap_effective,
            .cap_bounding = status.cap_bounding,
            .cap_ambient = status.cap_ambient,
            .secure_bits = 0,
            .no_new_privileges = status.no_new_privileges};
}

Result<model::Thread> collect_thread(const trace::Tracee& stopped) {
    model::Thread thread;
    thread.tid = stopped.tid();
    thread.registers = TRY(trace::registers_to_start_with(stopped));
    thread.xstate = TRY(stopped.xstate());
    thread.signal_mask = TRY(stopped.signal_mask());
    const os::RseqConfiguration rseq = TRY(stopped.rseq());
    thread.rseq = {.address = rseq.address, .size = rseq.size, .signature = rseq.signature};
    const os::RobustList robust = TRY(os::get_robust_list(stopped.tid()));
    thread.robust_list = robust.address;
    thread.robust_list_size = static_cast<std::uint32_t>(robust.size);

    auto directory = TRY(proc::ProcessDirectory::open_thread(stopped.process(), stopped.tid()));
    const proc::Stat stat = TRY(directory.stat());
    const proc::Status status = TRY(directory.status());
    TRY(check_seccomp_mode(thread.tid, status.seccomp_mode));
    thread.comm = stat.comm;
    thread.scheduling = TRY(scheduling_of(stat, stopped.tid()));
    thread.credentials = credentials_of(status);
    return thread;
}

Result<> collect_pending(const trace::Tracee& stopped, model::Thread& thread) {
    thread.pending = TRY(stopped.pending_signals(os::SignalQueue::Thread));
    return {};
}

Result<> ask_thread(trace::Questions& questions, model::Thread& thread) {
    TRY(questions.ask<KernelStack>(SYS_sigaltstack, {0}, 1, [&](const KernelStack& stack) {
        thread.alternate_stack = {
            .address = stack.address, .size = stack.size, .flags = stack.flags & ~kOnStack};
    }));
    TRY(questions.ask<std::uint64_t>(
        SYS_prctl, {PR_GET_TID_ADDRESS}, 1,
        [&](std::uint64_t address) { thread.clear_child_tid = address; }));
    TRY(questions.ask<int>(SYS_prctl, {PR_GET_PDEATHSIG}, 1,
                           [&](int signal) { thread.parent_death_signal = signal; }));
    TRY(questions.ask_result(SYS_prctl, PR_GET_TIMERSLACK, [&](std::uint64_t slack) {
        thread.scheduling.timer_slack_ns = slack;
    }));
    TRY(questions.ask_result(SYS_prctl, PR_GET_SECUREBITS, [&](std::uint64_t bits) {
        thread.credentials.secure_bits = static_cast<std::uint32_t>(bits);
    }));
    return {};
}

}  // namespace ferry::resources
