#include "restore/release.h"

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>

#include <cerrno>

#include "base/check.h"
#include "os/process.h"
#include "os/schedule.h"

namespace ferry::restore {
namespace {

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
        for (std::size_t i = 0; i < wanted->threads.size(); ++i) {
            CHECK(process->threads[i]->tid() == wanted->threads[i].tid);
            TRY(with_context(set_thread(process->threads[i]->tracee(), wanted->threads[i]),
                             fmt::format("registers of thread {}", wanted->threads[i].tid)));
        }
    }
    return {};
}

Result<> release(Tree& tree, RunMode mode) {
    Result<> first;
    const auto note = [&](Result<> result) {
        if (!result && first) first = std::move(result);
    };
    // From here on our end is not theirs.
    for (StubProcess* process : tree.processes()) {
        for (auto& thread : process->threads) {
            note(thread->tracee().set_on_tracer_exit(trace::OnTracerExit::LetRun));
        }
    }
    for (StubProcess* process : tree.processes()) {
        if (mode == RunMode::Stopped) note(process->pidfd->send_signal(SIGSTOP));
        for (auto& thread : process->threads) note(std::move(thread->tracee()).detach());
    }
    tree.disown();
    return first;
}

}  // namespace ferry::restore
