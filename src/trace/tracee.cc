#include "trace/tracee.h"

#include <elf.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "os/process.h"
#include "proc/process_directory.h"

namespace ferry::trace {
namespace {

constexpr unsigned long kOptions = PTRACE_O_TRACESYSGOOD;

unsigned long options_for(OnTracerExit at_exit, bool suspend_seccomp) {
    return kOptions | (at_exit == OnTracerExit::Kill ? unsigned{PTRACE_O_EXITKILL} : 0u) |
           (suspend_seccomp ? unsigned{PTRACE_O_SUSPEND_SECCOMP} : 0u);
}

// The kernel lets only a tracer with CAP_SYS_ADMIN and without filters of its own suspend others'.
bool may_not_suspend(const Error& error) {
    return error.code() == EPERM || error.code() == EINVAL;
}

// EPERM says little; the reason is in /proc.
Error explain_refusal(Pid process, Tid tid, Error error) {
    const auto directory = proc::ProcessDirectory::open_thread(process, tid);
    const Result<proc::Stat> stat = directory ? directory->stat() : fail(directory.error());
    // An exiting thread cannot be seized (EPERM) and is gone a moment later.
    if (!stat && stat.error().kind() == Error::Kind::Gone) return stat.error();
    if (!stat) return error;
    if (stat->is_zombie()) return Error::gone(fmt::format("thread {} has ended", tid));
    if (stat->is_kernel_thread()) {
        return Error::unsupported(fmt::format("{} is a kernel thread", tid));
    }
    if (const auto status = directory->status(); status && status->tracer.value != 0) {
        return Error::unsupported(
            fmt::format("thread {} is already traced by process {}", tid, status->tracer));
    }
    return error;
}

std::span<std::byte> bytes_of(arch::Registers& registers) {
    return std::as_writable_bytes(std::span(&registers.raw, 1));
}

}  // namespace

Stop Stop::decode(int wait_status) {
    if (WIFEXITED(wait_status)) return {.kind = Kind::Exited, .status = WEXITSTATUS(wait_status)};
    if (WIFSIGNALED(wait_status)) return {.kind = Kind::Killed, .signal = WTERMSIG(wait_status)};
    const int signal = WSTOPSIG(wait_status);
    const int event = wait_status >> 16;
    if (event == PTRACE_EVENT_STOP) {
        // A group-stop shows the stopping signal here, everything else SIGTRAP (ptrace(2)).
        const bool group =
            signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
        return {.kind = group ? Kind::Group : Kind::Interrupt, .signal = signal, .event = event};
    }
    if (event != 0) return {.kind = Kind::Event, .signal = signal, .event = event};
    if (signal == (SIGTRAP | 0x80)) return {.kind = Kind::Syscall};
    return {.kind = Kind::Signal, .signal = signal};
}

Tracee::Tracee(Pid process, Tid tid, OnTracerExit at_exit)
    : process_(process),
      tid_(tid),
      tracer_(::gettid()),
      at_exit_(at_exit),
      state_(State::Running) {}

Tracee::Tracee(Tracee&& other) noexcept
    : process_(other.process_),
      tid_(other.tid_),
      tracer_(other.tracer_),
      at_exit_(other.at_exit_),
      state_(std::exchange(other.state_, State::None)),
      group_stop_(other.group_stop_),
      suspends_seccomp_(other.suspends_seccomp_),
      undelivered_(std::exchange(other.undelivered_, 0)) {}

Tracee& Tracee::operator=(Tracee&& other) noexcept {
    if (this == &other) return *this;
    give_back();
    process_ = other.process_;
    tid_ = other.tid_;
    tracer_ = other.tracer_;
    at_exit_ = other.at_exit_;
    state_ = std::exchange(other.state_, State::None);
    group_stop_ = other.group_stop_;
    suspends_seccomp_ = other.suspends_seccomp_;
    undelivered_ = std::exchange(other.undelivered_, 0);
    return *this;
}

Tracee::~Tracee() {
    give_back();
}

void Tracee::check_thread() const {
    CHECK(tracer_ == ::gettid());
}

// A call that was to be made in it may have seen its end (SIGKILL ends a stopped thread too).
Result<> Tracee::check_exists() const {
    if (state_ != State::None) return {};
    return fail(Error::gone(fmt::format("thread {} has ended", tid_)));
}

Result<Tracee> Tracee::seize(Pid process, Tid tid, OnTracerExit at_exit) {
    if (process.value == ::getpid()) {
        return fail(Error::unsupported(fmt::format("{} is a thread of ourselves", tid)));
    }
    bool suspends_seccomp = true;
    Result<> seized = os::ptrace_seize(tid, options_for(at_exit, true));
    if (!seized && may_not_suspend(seized.error())) {
        suspends_seccomp = false;
        seized = os::ptrace_seize(tid, options_for(at_exit, false));
    }
    if (!seized) return fail(explain_refusal(process, tid, std::move(seized.error())));
    Tracee tracee(process, tid, at_exit);
    tracee.suspends_seccomp_ = suspends_seccomp;
    // The id may have been reused between its listing and the seizure; now it cannot change any
    // more.
    if (auto directory = proc::ProcessDirectory::open_thread(process, tid); !directory) {
        tracee.at_exit_ = OnTracerExit::LetRun;  // Not ours to kill.
        return fail(Error::gone(fmt::format("{} is not a thread of process {}", tid, process)));
    }
    return tracee;
}

// Best effort: if the thread cannot be stopped for the detach, it is released when we exit.
void Tracee::give_back() noexcept {
    if (state_ == State::None) return;
    check_thread();
    if (at_exit_ == OnTracerExit::Kill) {
        if (auto killed = os::kill(process_, SIGKILL); !killed) {
            log_debug("{}, ignoring: the process has ended", killed.error().message());
        }
        state_ = State::None;
        return;
    }
    if (auto detached = std::move(*this).detach(); !detached) {
        log_debug("{}, ignoring: the thread has ended or is released with us",
                  detached.error().message());
    }
    state_ = State::None;
}

Result<> Tracee::interrupt() {
    check_thread();
    TRY(check_exists());
    return os::ptrace_interrupt(tid_);
}

Stop Tracee::note(int wait_status) {
    const Stop stop = Stop::decode(wait_status);
    state_ = stop.is_end() ? State::None : State::Stopped;
    group_stop_ = stop.kind == Stop::Kind::Group ? stop.signal : 0;
    undelivered_ = stop.kind == Stop::Kind::Signal ? stop.signal : 0;
    return stop;
}

Result<std::optional<Stop>> Tracee::poll() {
    check_thread();
    TRY(check_exists());
    CHECK(state_ == State::Running);
    auto status = os::wait_nohang(tid_);
    if (!status) {
        // The main thread of a process that another of its threads exec'ed or ended takes no
        // status.
        if (status.error().kind() == Error::Kind::Gone) state_ = State::None;
        return fail(std::move(status.error()));
    }
    if (!status->has_value()) return std::optional<Stop>();
    return std::optional<Stop>(note(**status));
}

// A stop comes within microseconds when the thread can run at once on another processor. Otherwise
// we must leave ours: sleeping is better than yielding, which would let everybody else run first.
Result<Stop> Tracee::wait(std::chrono::milliseconds timeout) {
    static constexpr int kLooks = 20;
    static constexpr std::chrono::microseconds kLongestSleep{1000};
    for (int look = 0; look < kLooks; ++look) {
        if (auto stop = TRY(poll())) return *stop;
    }
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    const os::ChildSignal signal;
    for (;;) {
        if (auto stop = TRY(poll())) return *stop;
        if (std::chrono::steady_clock::now() >= deadline) {
            return fail(Error::unsupported(
                fmt::format("thread {} does not stop within {} ms (uninterruptible wait, vfork or "
                            "a frozen cgroup)",
                            tid_, timeout.count())));
        }
        signal.sleep(kLongestSleep);
    }
}

Result<> Tracee::await_stop(std::chrono::milliseconds timeout) {
    for (;;) {
        const Stop stop = TRY(wait(timeout));
        switch (stop.kind) {
            case Stop::Kind::Interrupt:
            case Stop::Kind::Group:
                return {};
            case Stop::Kind::Exited:
            case Stop::Kind::Killed:
                return fail(Error::gone(fmt::format("thread {} has ended", tid_)));
            case Stop::Kind::Signal:
            case Stop::Kind::Syscall:
            case Stop::Kind::Event:
                // The interrupt stays pending over a resume, so this delivers the signal and stops
                // at the first instruction of its handler.
                TRY(resume());
        }
    }
}

Result<> Tracee::stop(std::chrono::milliseconds timeout) {
    if (state_ == State::Stopped) return {};
    TRY(interrupt());
    return await_stop(timeout);
}

Result<> Tracee::resume_with(Result<> (*request)(Tid, int)) {
    check_thread();
    TRY(check_exists());
    CHECK(state_ == State::Stopped);
    TRY(request(tid_, undelivered_));
    undelivered_ = 0;
    state_ = State::Running;
    return {};
}

Result<> Tracee::resume() {
    return resume_with(os::ptrace_cont);
}

Result<> Tracee::resume_to_syscall() {
    return resume_with(os::ptrace_syscall);
}

Result<> Tracee::detach() && {
    check_thread();
    if (state_ == State::None) return {};
    at_exit_ = OnTracerExit::LetRun;
    if (state_ == State::Running) TRY(stop());
    state_ = State::None;
    return os::ptrace_detach(tid_, undelivered_);
}

Result<arch::Registers> Tracee::registers() const {
    arch::Registers registers;
    const std::size_t size = TRY(os::ptrace_getregset(tid_, NT_PRSTATUS, bytes_of(registers)));
    if (size != sizeof(registers.raw)) {
        return fail(Error::unsupported(fmt::format("thread {} is a 32-bit task", tid_)));
    }
    return registers;
}

Result<> Tracee::set_registers(const arch::Registers& registers) const {
    return os::ptrace_setregset(tid_, NT_PRSTATUS, std::as_bytes(std::span(&registers.raw, 1)));
}

Result<arch::XState> Tracee::xstate() const {
    // First ask generously, then keep what the CPU really has.
    arch::XState xstate;
    xstate.area.resize(limits::kXsaveBytesMax);
    const std::size_t size = TRY(os::ptrace_getregset(tid_, NT_X86_XSTATE, xstate.area));
    xstate.area.resize(size);
    xstate.area.shrink_to_fit();
    return xstate;
}

Result<> Tracee::set_xstate(const arch::XState& xstate) const {
    return os::ptrace_setregset(tid_, NT_X86_XSTATE, xstate.area);
}

Result<std::uint64_t> Tracee::signal_mask() const {
    return os::ptrace_getsigmask(tid_);
}

Result<> Tracee::set_signal_mask(std::uint64_t mask) const {
    return os::ptrace_setsigmask(tid_, mask);
}

Result<std::vector<os::RawSignalInfo>> Tracee::pending_signals(os::SignalQueue queue) const {
    return os::ptrace_peeksiginfo(tid_, queue);
}

Result<os::RseqConfiguration> Tracee::rseq() const {
    return os::ptrace_get_rseq_configuration(tid_);
}

Result<> Tracee::set_on_tracer_exit(OnTracerExit at_exit) {
    TRY(os::ptrace_set_options(tid_, options_for(at_exit, suspends_seccomp_)));
    at_exit_ = at_exit;
    return {};
}

}  // namespace ferry::trace
