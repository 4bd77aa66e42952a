// What a thread's stack must hold so that the thread can walk home by itself: a signal frame as the
// kernel writes for a handler (x86-64: arch/x86/kernel/signal_64.c, struct rt_sigframe), below it
// the return addresses that lead to rt_sigreturn(2). And what a thread's registers mean when it was
// stopped inside a system call. Pure functions; nothing here touches a process.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "arch/registers.h"

namespace ferry::arch {

// Instructions found in a task's own text. Addresses in the task; 0: not found.
struct Gadgets {
    std::uint64_t call = 0;       // syscall; ret
    std::uint64_t sigreturn = 0;  // mov $15,%eax; syscall   (glibc's __restore_rt)
    std::uint64_t pop_rax = 0;    // pop %rax; ret
    std::uint64_t store_rsi = 0;  // mov %rax,(%rsi); ret
    std::uint64_t store_rdx = 0;  // mov %rax,(%rdx); ret
    std::uint64_t pop_rdi = 0;    // pop %rdi; ret
    std::uint64_t pop_rsi = 0;    // pop %rsi; ret
    bool operator==(const Gadgets&) const = default;

    // With pop_rax, the call itself with 15 in rax serves as the return.
    [[nodiscard]] bool complete() const { return call != 0 && (sigreturn != 0 || pop_rax != 0); }
    [[nodiscard]] bool can_store() const { return store_rsi != 0 || store_rdx != 0; }
    // What load_calls() needs.
    [[nodiscard]] bool can_load() const {
        return pop_rax != 0 && pop_rdi != 0 && pop_rsi != 0 && store_rsi != 0;
    }
};

// Looks for what `found` still lacks in text that is mapped at `address`.
void find_gadgets(std::span<const std::byte> text, std::uint64_t address, Gadgets& found);

// A thread stopped by ptrace inside a system call shows the kernel's private codes -ERESTART...;
// what userspace must see depends on what comes next (kernel: arch_do_signal_or_restart).
[[nodiscard]] bool in_restartable_call(const Registers& registers);
// The call is one that the kernel continues with what it remembers in the thread (the remaining
// time of nanosleep, poll, futex). rt_sigreturn(2) makes it forget.
[[nodiscard]] bool in_remembered_call(const Registers& registers);
// The registers with which the thread can simply be started, here or elsewhere: the call is issued
// again (rip - 2). One that the kernel continues waits for what it has written as the remaining
// time, or anew for its whole time. Marked as not being inside a call.
//
// Once such a call has been continued, its number is gone from the registers (restart_syscall(2)).
// Most code loads it right before: `text` are the kCallTextBytes before rip, or nothing. Where it
// does not tell, the call returns EINTR.
inline constexpr std::size_t kCallTextBytes = 7;
[[nodiscard]] Registers resolve_restart(Registers registers, std::span<const std::byte> text = {});

// struct rseq_cs of rseq(2).
struct RestartableSection {
    std::uint64_t start = 0, length = 0, abort = 0;
    static constexpr std::size_t kBytes = 32;
    [[nodiscard]] static RestartableSection decode(std::span<const std::byte, kBytes> bytes);
};
// A thread that was stopped inside a restartable section has been preempted: it must go on at the
// abort address, which the kernel only arranges if it finds the instruction pointer untouched.
[[nodiscard]] Registers leave_section(Registers registers, const RestartableSection& section);

// A stack prepared for borrowed calls, from high to low addresses:
//   `top` | scratch | XSAVE area | signal frame | return chain
// By default the top is the end of the thread's own stack, red zone included.
struct BorrowedStack {
    std::uint64_t address = 0;     // of bytes[0]: where to write them
    std::vector<std::byte> bytes;  // return chain, frame, XSAVE area; the scratch lies behind them
    std::uint64_t stack_pointer = 0;  // for the call
    std::uint64_t scratch = 0;        // kScratchBytes that calls may use for structs
    std::uint64_t xsave = 0;          // where the XSAVE area lies
    static constexpr std::size_t kScratchBytes = 4096;

    // The end of what is overwritten, exclusive.
    [[nodiscard]] std::uint64_t end() const { return scratch + kScratchBytes; }
};

// home: the registers to return to, already resolved. mask: the signals blocked there. The
// alternate signal stack is left as it is. gadgets.complete() is required. Nothing if the XSAVE
// area is not one.
[[nodiscard]] std::optional<BorrowedStack> borrow_stack(const Registers& home, const XState& xstate,
                                                        std::uint64_t mask, const Gadgets& gadgets,
                                                        std::uint64_t top = 0);

// One system call of a chain.
struct Call {
    long number = 0;
    std::array<std::uint64_t, 6> arguments = {};
    // Where its result is stored as a 64-bit number; 0: nowhere. With a result, the second and the
    // third argument must be ones that the call does not use. Needs Gadgets::can_store().
    std::uint64_t result = 0;
};

// Several calls that the thread makes one after the other without stopping: each returns into
// rt_sigreturn(2), whose frame holds the registers of the next; the last one leads home. What has
// been used lies below what is still needed, so a handler cannot destroy it.
struct CallChain {
    std::uint64_t address = 0;  // of bytes[0]
    std::vector<std::byte> bytes;
    std::uint64_t stack_pointer = 0;  // for the first call, which call_registers() starts

    [[nodiscard]] std::uint64_t end() const { return address + bytes.size(); }
};
// `calls` is not empty. `mask` is blocked during all but the last call, `last_mask` during that.
[[nodiscard]] CallChain chain_calls(const Registers& home, const BorrowedStack& stack,
                                    const Gadgets& gadgets, std::span<const Call> calls,
                                    std::uint64_t mask, std::uint64_t last_mask);

// The same without rt_sigreturn(2) between the calls, so that the kernel goes on remembering an
// interrupted call (in_remembered_call()): their registers are loaded from the stack. For calls of
// at most two arguments, or one and a result; nothing if others are among them. The same signals
// are blocked during all of them.
[[nodiscard]] std::optional<CallChain> load_calls(const BorrowedStack& stack,
                                                  const Gadgets& gadgets,
                                                  std::span<const Call> calls);

// The registers that make the thread issue one system call on the borrowed stack and then walk
// home.
[[nodiscard]] Registers call_registers(const Registers& home, std::uint64_t stack_pointer,
                                       const Gadgets& gadgets, const Call& call);
// The result of a call that has just returned.
[[nodiscard]] inline long call_result(const Registers& registers) {
    return static_cast<long>(registers.raw.rax);
}

}  // namespace ferry::arch
