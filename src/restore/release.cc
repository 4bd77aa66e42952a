#include "restore/release.h"

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ranges>
#include <thread>
#include <vector>

#include "base/check.h"
#include "os/process.h"
#include "os/schedule.h"
#include "proc/process_directory.h"
#include "proc/syscall.h"
#include "trace/ends.h"
#include "trace/remote_calls.h"

namespace ferry::restore {
namespace {

// Threads that have been killed end at once; a call that cannot be interrupted ends first.
constexpr std::chrono::milliseconds kEndTimeout{10'000};

Result<> expect_syscall_stop(trace::Tracee& tracee) {
    const trace::Stop stop = TRY(tracee.wait());
    if (stop.kind == trace::Stop::Kind::Syscall) return {};
    return fail(Error::gone(fmt::format("thread {} stopped for another reason (signal {})",
                                        tracee.tid(), stop.signal)));
}

// munmap of the memory that the thread runs in: it stops at the end of the call and never sees that
// its code is gone.
Result<> unmap_hole(trace::Tracee& tracee, const Arena& arena) {
    arch::Registers call = TRY(tracee.registers());
    call.raw.rip = arena.syscall_instruction().value;
    call.raw.rax = SYS_munmap;
    call.raw.orig_rax = ~0ULL;  // no restart of the call that the stop interrupted
    call.raw.rdi = arena.hole().start.value;
    call.raw.rsi = arena.hole().size();
    TRY(tracee.set_registers(call));
    TRY(tracee.resume_to_syscall());
    TRY(expect_syscall_stop(tracee));
    TRY(tracee.resume_to_syscall());
    TRY(expect_syscall_stop(tracee));
    const auto result = static_cast<std::int64_t>(TRY(tracee.registers()).raw.rax);
    if (result == 0) return {};
    return fail(Error::system(static_cast<int>(-result),
                              fmt::format("munmap of the stub's code in {}", tracee.process())));
}

// From outside and last, because stubs are urgent until now.
Result<> set_scheduling(Tid tid, const model::Scheduling& wanted) {
    TRY(os::sched_setscheduler(tid, wanted.policy, wanted.priority));
    const int policy = wanted.policy & ~SCHED_RESET_ON_FORK;
    if (policy == SCHED_OTHER || policy == SCHED_BATCH) {
        TRY(os::set_nice(tid, wanted.nice));
    }
    if (wanted.io_priority != 0) TRY(os::set_io_priority(tid, wanted.io_priority));
    // What it has come to have by the change of policy. (A real-time thread has none.)
    constexpr std::uint64_t kUsualSlackNs = 50'000;
    if (wanted.timer_slack_ns != 0 && wanted.timer_slack_ns != kUsualSlackNs) {
        TRY(os::write_file(os::kCwd, fmt::format("/proc/{}/timerslack_ns", tid),
                           fmt::format("{}", wanted.timer_slack_ns)));
    }
    if (wanted.affinity.empty()) return {};
    const auto bound = os::sched_setaffinity(tid, wanted.affinity);
    // A host that has none of these processors: the thread may run on all.
    if (!bound && bound.error().code() != EINVAL) return bound;
    return {};
}

Result<> set_thread(trace::Tracee& tracee, const model::Thread& thread) {
    arch::Registers registers = thread.registers;
    registers.raw.orig_rax = ~0ULL;
    TRY(set_scheduling(tracee.tid(), thread.scheduling));
    TRY(tracee.set_registers(registers));
    if (!thread.xstate.area.empty()) TRY(tracee.set_xstate(thread.xstate));
    return tracee.set_signal_mask(thread.signal_mask);
}

bool has_child_signal(const model::Process& process) {
    const auto is_sigchld = [](const model::SignalInfo& info) {
        int number = 0;  // si_signo comes first
        std::memcpy(&number, info.data(), sizeof(number));
        return number == SIGCHLD;
    };
    return std::ranges::any_of(process.pending, is_sigchld) ||
           std::ranges::any_of(process.leader().pending, is_sigchld);
}

// What the stop has told the parent, which still stands in its own trace stop, is taken from it
// where it knows it: the state to wait for, and the SIGCHLD.
Result<> settle_parent(StubProcess& parent, Pid child, bool noticed) {
    trace::Tracee& leader = parent.leader().tracee();
    if (!leader.suspends_seccomp()) return {};
    const arch::Gadgets gadgets = TRY(trace::find_gadgets(parent.here));
    trace::RemoteCalls calls = TRY(trace::RemoteCalls::borrow(leader, gadgets));
    if (!parent.has_child_signal) {
        const std::uint64_t child_signal = 1ULL << (SIGCHLD - 1);
        constexpr std::size_t kTimeoutAt = 64;
        TRY(calls.write_scratch(std::as_bytes(std::span(&child_signal, 1))));
        const timespec at_once = {};
        TRY(calls.write_scratch(std::as_bytes(std::span(&at_once, 1)), kTimeoutAt));
        const auto taken = calls.call(
            SYS_rt_sigtimedwait,
            {calls.scratch().value, 0, calls.scratch(kTimeoutAt).value, sizeof(child_signal)});
        if (!taken && taken.error().code() != EAGAIN) return fail(taken.error());
    }
    if (noticed) {
        TRY(calls.call(SYS_waitid,
                       {P_PID, static_cast<std::uint64_t>(child.value), 0, WSTOPPED | WNOHANG, 0}));
    }
    return std::move(calls).give_back();
}

// Only a thread that is off its processor has told the parent: it shows as stopped before.
Result<bool> has_stopped(const StubProcess& process) {
    for (const auto& thread : process.threads) {
        const auto directory =
            TRY(proc::ProcessDirectory::open_thread(process.here, thread->here()));
        const proc::Syscall call = TRY(proc::parse_syscall(TRY(directory.text("syscall"))));
        if (call.is_running || TRY(directory.stat()).state != 'T') return false;
    }
    return true;
}

// The signal is queued while every thread stands still: the first that runs on stops the process.
Result<> stop_again(Tree& tree, StubProcess& process) {
    constexpr std::chrono::milliseconds kTimeout{1000};
    constexpr std::chrono::microseconds kPause{50};
    TRY(process.pidfd->send_signal(process.stop->signal));
    for (auto& thread : process.threads) TRY(std::move(thread->tracee()).detach());
    const auto deadline = std::chrono::steady_clock::now() + kTimeout;
    while (!TRY(has_stopped(process))) {
        if (std::chrono::steady_clock::now() > deadline) {
            return fail(Error::limit(fmt::format("process {} does not stop", process.pid)));
        }
        std::this_thread::sleep_for(kPause);
    }
    StubProcess* parent = tree.find(process.parent);
    return parent == nullptr ? Result<>()
                             : settle_parent(*parent, process.pid, process.stop->noticed);
}

// A stop by a terminal's signal stops again only with its default action.
model::GroupStop possible_stop(const model::Process& process) {
    model::GroupStop stop = *process.stop;
    const auto& action = process.actions[static_cast<std::size_t>(stop.signal - 1)];
    const bool is_blocked = (process.leader().signal_mask >> (stop.signal - 1) & 1) != 0;
    if (action.handler != 0 || is_blocked) stop.signal = SIGSTOP;
    return stop;
}

}  // namespace

Result<> set_registers(Tree& tree, const model::Checkpoint& checkpoint) {
    for (StubProcess* process : tree.processes()) {
        for (auto& thread : process->threads) TRY(thread->tracee().interrupt());
    }
    for (StubProcess* process : tree.processes()) {
        for (auto& thread : process->threads) TRY(thread->tracee().await_stop());
    }
    for (StubProcess* process : tree.processes()) {
        TRY(unmap_hole(process->leader().tracee(), tree.arena()));
        const model::Process* wanted = checkpoint.find_process(process->pid);
        CHECK(wanted != nullptr);
        CHECK(wanted->threads.size() == process->threads.size());
        if (wanted->stop) process->stop = possible_stop(*wanted);
        process->has_child_signal = has_child_signal(*wanted);
        for (std::size_t i = 0; i < wanted->threads.size(); ++i) {
            CHECK(process->threads[i]->tid() == wanted->threads[i].tid);
            TRY(with_context(set_thread(process->threads[i]->tracee(), wanted->threads[i]),
                             fmt::format("registers of thread {}", wanted->threads[i].tid)));
        }
    }
    return {};
}

Result<> release(Tree& tree, RunMode mode, const std::function<void()>& lasting) {
    Result<> first;
    const auto note = [&](Result<> result) {
        if (!result && first) first = std::move(result);
    };
    std::vector<Tid> ended;
    // From here on our end is not theirs. The root last: while it lives, all do. Where we die in
    // between, whoever finds it dead ends the others.
    for (StubProcess* process : std::views::reverse(tree.processes())) {
        for (auto& thread : process->threads) {
            note(thread->tracee().set_on_tracer_exit(trace::OnTracerExit::LetRun));
        }
    }
    if (lasting) lasting();
    // Children first: a parent that is stopped itself can be settled no more.
    for (StubProcess* process : std::views::reverse(tree.processes())) {
        if (process->stop) note(stop_again(tree, *process));
    }
    for (StubProcess* process : tree.processes()) {
        if (process->stop) continue;
        if (mode == RunMode::Stopped) note(process->pidfd->send_signal(SIGSTOP));
        for (auto& thread : process->threads) {
            const Result<> detached = std::move(thread->tracee()).detach();
            // The first of them that runs may end the whole process.
            const bool is_over = !detached && detached.error().kind() == Error::Kind::Gone;
            if (!is_over) note(detached);
            if (is_over && thread != process->threads.front()) ended.push_back(thread->here());
        }
    }
    tree.disown();
    // Nobody hears of a process's end while we have not heard of its threads'.
    if (!ended.empty()) note(trace::await_ends(std::move(ended), kEndTimeout));
    return first;
}

}  // namespace ferry::restore
