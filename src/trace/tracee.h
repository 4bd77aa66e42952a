// One seized thread. Tracee is the only class that waits for tracees and resumes them.
//
// Life: seize() -> running; stop() -> stopped; resume() / resume_to_syscall() -> running; detach().
// Everything that reads or writes the thread's state (registers, mask, ...) needs it stopped. A
// thread that ends meanwhile is Error::Kind::Gone, never a crash.
//
// The destructor gives the thread back: one seized with OnTracerExit::LetRun is detached and runs
// on (I1); one seized with OnTracerExit::Kill is killed with its process, as the kernel would if we
// died (PTRACE_O_EXITKILL, I2).
//
// All calls come from the thread that seized (ptrace(2); I5), which is asserted.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "arch/registers.h"
#include "base/error.h"
#include "base/types.h"
#include "os/ptrace.h"

namespace ferry::trace {

// A change of state that waitpid reported, decoded (ptrace(2), "Stopped states").
struct Stop {
    enum class Kind {
        Exited,     // the thread is gone; status is its exit status (>= 0)
        Killed,     // the thread was ended by `signal`
        Interrupt,  // PTRACE_EVENT_STOP because we asked for it (PTRACE_INTERRUPT), or a new
                    // child's first
        Group,      // PTRACE_EVENT_STOP of a group-stop: the process was stopped by `signal`
        Signal,     // signal-delivery-stop: `signal` is about to be delivered
        Syscall,    // entry or exit of a system call, after resume_to_syscall()
        Event,      // another PTRACE_EVENT_*, in `event`
    };
    Kind kind = Kind::Exited;
    int signal = 0;
    int event = 0;
    int status = 0;

    // From waitpid's status word.
    [[nodiscard]] static Stop decode(int wait_status);
    [[nodiscard]] bool is_end() const { return kind == Kind::Exited || kind == Kind::Killed; }
};

enum class OnTracerExit { LetRun, Kill };

// A stop that takes longer is an error: the thread sits in an uninterruptible wait (state D), for
// instance a parent in vfork(2), or is frozen by a cgroup.
inline constexpr std::chrono::milliseconds kStopTimeout{1000};

class Tracee {
  public:
    // PTRACE_SEIZE, without stopping. Refuses by name (Kind::Unsupported): a thread that has
    // another tracer, a kernel thread, and a thread of our own process. Kind::Gone if there is no
    // such thread, or `tid` is not (any more) a thread of `process`.
    static Result<Tracee> seize(Pid process, Tid tid, OnTracerExit at_exit = OnTracerExit::LetRun);

    Tracee(Tracee&& other) noexcept;
    Tracee& operator=(Tracee&& other) noexcept;
    Tracee(const Tracee&) = delete;
    Tracee& operator=(const Tracee&) = delete;
    ~Tracee();

    [[nodiscard]] Pid process() const { return process_; }
    [[nodiscard]] Tid tid() const { return tid_; }
    [[nodiscard]] bool is_stopped() const { return state_ == State::Stopped; }
    // Its seccomp filters do not act while we trace it (PTRACE_O_SUSPEND_SECCOMP).
    [[nodiscard]] bool suspends_seccomp() const { return suspends_seccomp_; }
    // The signal by which the thread's process is in a group-stop (SIGSTOP and friends), if the
    // thread stopped because of that; it stays so after detach. 0: it is in none.
    [[nodiscard]] int group_stop() const { return group_stop_; }

    // interrupt() and await_stop() in one. Signals that are on their way are delivered first.
    Result<> stop(std::chrono::milliseconds timeout = kStopTimeout);
    // PTRACE_INTERRUPT. To stop many threads: interrupt all of them, then await each. A thread that
    // is stopped already will stop so again as soon as it is resumed.
    Result<> interrupt();
    // Waits for the stop that interrupt() asked for. Kind::Gone if the thread ends instead.
    Result<> await_stop(std::chrono::milliseconds timeout = kStopTimeout);
    // Waits for the next change of state, whatever it is. For a Signal stop, the signal is
    // delivered by the next resume or detach, unless drop_signal() is called.
    Result<Stop> wait(std::chrono::milliseconds timeout = kStopTimeout);
    // The same without waiting.
    Result<std::optional<Stop>> poll();
    void drop_signal() { undelivered_ = 0; }

    // PTRACE_CONT and PTRACE_SYSCALL.
    Result<> resume();
    Result<> resume_to_syscall();
    // Lets the thread run on and gives up tracing it, whatever OnTracerExit says.
    Result<> detach() &&;
    // For a thread that has been seen to end, or that the caller has killed: nothing left to do.
    void forget() { state_ = State::None; }

    Result<arch::Registers> registers() const;
    Result<> set_registers(const arch::Registers& registers) const;
    Result<arch::XState> xstate() const;
    Result<> set_xstate(const arch::XState& xstate) const;
    // Blocked signals, bit 0 is signal 1. In a call that swaps the mask (sigsuspend, ppoll) it is
    // the one that holds after the call.
    Result<std::uint64_t> signal_mask() const;
    Result<> set_signal_mask(std::uint64_t mask) const;
    Result<std::vector<os::RawSignalInfo>> pending_signals(os::SignalQueue queue) const;
    Result<os::RseqConfiguration> rseq() const;
    // Replaces the kill-on-exit option; from then on the destructor acts accordingly.
    Result<> set_on_tracer_exit(OnTracerExit at_exit);

  private:
    enum class State { None, Running, Stopped };
    Tracee(Pid process, Tid tid, OnTracerExit at_exit);
    Result<> resume_with(Result<> (*request)(Tid, int));
    void give_back() noexcept;
    Stop note(int wait_status);
    void check_thread() const;
    [[nodiscard]] Result<> check_exists() const;

    Pid process_;
    Tid tid_;
    pid_t tracer_ = 0;  // the only thread that may use this object
    OnTracerExit at_exit_ = OnTracerExit::LetRun;
    State state_ = State::None;
    int group_stop_ = 0;
    bool suspends_seccomp_ = false;
    int undelivered_ = 0;  // of the current Signal stop
};

}  // namespace ferry::trace
