// Borrows a stopped thread to make single system calls in its process. Nothing is loaded into the
// process: the instruction used is a `syscall; ret` in its own text, and the thread's stack holds a
// signal frame with its real registers before the first call (arch/signal_frame.h). Whenever we
// die, the thread finishes the call it is in, returns into rt_sigreturn(2) and is home (I1). The
// only thing it may notice then is that an interrupted sleep returned EINTR.
//
//   RemoteCalls calls = TRY(RemoteCalls::borrow(tracee, gadgets));
//   long umask = TRY(calls.call(SYS_umask, {022}));
//   TRY(std::move(calls).give_back());
//
// The states and why each is safe:
//   1. Stopped, its own registers; frame and scratch written below its red zone: nothing to repair.
//   2. Registers point at the gadget, signals as before: the call is made, then home. A handler
//   that
//      runs in between finds an ordinary stack.
//   3. All signals blocked, during and between calls: the frame brings the mask back.
//   4. Back at a stop in the kernel's signal path, its own mask: still home by the frame. Then its
//   own
//      registers: 1.
//
// start() makes many calls with one stop: a chain of frames leads from call to call, and the last
// call sends the thread a signal that means nothing to it, at whose delivery it stops. On a busy
// machine each stop costs a turn of the scheduler on both sides. Frames would make an interrupted
// sleep return EINTR: where the thread is in one, registers are loaded from the stack instead
// (arch::load_calls), or the calls are made one by one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <vector>

#include "arch/signal_frame.h"
#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"
#include "trace/stack_rooms.h"
#include "trace/tracee.h"

namespace ferry::trace {

// Searches the executable mappings of a process: files first, the vdso last. To be cached for the
// life of the address space (until execve). Those of a process that may have the same text at the
// same addresses, such as its parent, spare the search where they are there. Unsupported if there
// are none.
Result<arch::Gadgets> find_gadgets(Pid process, const arch::Gadgets& of_relative = {});

// The registers of a stopped thread, as it would go on: outside of a restartable section (rseq(2)),
// an interrupted call still marked as such. Reads the thread's memory.
Result<arch::Registers> registers_outside_section(const Tracee& stopped);
// The same with an interrupted call resolved (arch::resolve_restart): the thread can be started
// with them anywhere.
Result<arch::Registers> registers_to_start_with(const Tracee& stopped);

// Owns the state of one borrowed thread; the Tracee must outlive it and stay stopped. The
// destructor gives the thread back.
class RemoteCalls {
  public:
    // Prepares stack and registers; makes no call yet. Unsupported if the thread's stack has no
    // room for a signal frame (then another thread may have), or it stands in a 32-bit mode.
    // Without a place (stack_rooms.h) the frame goes onto the thread's own stack.
    static Result<RemoteCalls> borrow(Tracee& stopped, const arch::Gadgets& gadgets,
                                      const StackPlace& place = {});

    RemoteCalls(RemoteCalls&& other) noexcept;
    RemoteCalls& operator=(RemoteCalls&&) = delete;
    RemoteCalls(const RemoteCalls&) = delete;
    RemoteCalls& operator=(const RemoteCalls&) = delete;
    ~RemoteCalls();

    // One system call. A failed call is a System error with the call's errno. Calls that wait, or
    // that end the thread, must not be made.
    Result<long> call(long number, std::initializer_list<std::uint64_t> arguments);

    // All calls in order, with as few stops as possible. Only for calls that do not fail, or whose
    // failure shows in memory: no errno is reported. Call::result addresses lie in the scratch.
    // start() may return while the thread is still at it; finish() waits. In between nothing else
    // must be asked of this object, but other threads' calls can be started.
    Result<> start(std::span<const arch::Call> calls);
    Result<> finish();

    // Memory in the process for the structs that calls take and fill; kScratchBytes.
    [[nodiscard]] RemoteAddr scratch(std::size_t offset = 0) const;
    Result<> write_scratch(std::span<const std::byte> bytes, std::size_t offset = 0);
    Result<> read_scratch(std::span<std::byte> bytes, std::size_t offset = 0);
    template <class T>
    Result<T> read_scratch(std::size_t offset = 0) {
        T value{};
        TRY(read_scratch(std::as_writable_bytes(std::span(&value, 1)), offset));
        return value;
    }

    // The thread is stopped with its own registers, mask and stack bytes again.
    Result<> give_back() &&;

  private:
    RemoteCalls(Tracee& tracee, const arch::Gadgets& gadgets)
        : tracee_(&tracee), gadgets_(gadgets) {}
    Result<> enter(const arch::Registers& registers);
    Result<> run_to_call_stop();
    Result<> start_chain(std::span<const arch::Call> calls);
    Result<> await_signal(int signal);
    Result<> run_one_by_one(std::span<const arch::Call> calls);
    struct OwnSignal {
        int number = 0;  // 0: there is none
        pid_t process = 0, thread = 0;
    };
    Result<OwnSignal> meaningless_signal() const;
    Result<> keep_from(std::uint64_t address);
    Result<> walk_home();

    Tracee* tracee_;  // nullptr: moved from, or given back
    arch::Gadgets gadgets_;
    os::UniqueFd memory_;  // /proc/PID/mem: unlike process_vm_writev(2), it grows the stack
    arch::Registers home_;
    std::uint64_t mask_ = 0;
    arch::BorrowedStack stack_;
    // What lay there, from lowest_ to stack_.end().
    std::vector<std::byte> overwritten_;
    std::uint64_t lowest_ = 0;
    std::vector<arch::Call> rest_;  // of start(), behind the chain that runs
    int awaited_ = 0;               // the signal that ends the chain that runs; 0: none runs
    bool entered_ = false;          // past state 1
    bool in_signal_path_ = true;    // the current stop lies in the kernel's signal path
};

}  // namespace ferry::trace
