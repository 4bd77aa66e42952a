// ptrace(2) and the waiting that belongs to it, one thin function per request. The caller is the
// tracer; all requests about one tracee must come from the thread that seized it (I5). ESRCH means
// that the thread is gone or not stopped, and is Error::Kind::Gone.
#pragma once

#include <signal.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/types.h"

namespace ferry::os {

// What PTRACE_GET_RSEQ_CONFIGURATION gives (Linux 5.13). address 0: not registered.
struct RseqConfiguration {
    std::uint64_t address = 0;
    std::uint32_t size = 0, signature = 0, flags = 0;
};

enum class SignalQueue { Thread, Process };

// PTRACE_PEEKSIGINFO gives siginfo_t as 128 raw bytes.
using RawSignalInfo = std::array<std::byte, 128>;

Result<> ptrace_seize(Tid tid, unsigned long options);
Result<> ptrace_set_options(Tid tid, unsigned long options);
Result<> ptrace_interrupt(Tid tid);
// Resuming requests; signal 0 delivers none.
Result<> ptrace_cont(Tid tid, int signal);
Result<> ptrace_syscall(Tid tid, int signal);
Result<> ptrace_detach(Tid tid, int signal);
// type is NT_PRSTATUS, NT_X86_XSTATE, ... The number of bytes that the kernel filled.
Result<std::size_t> ptrace_getregset(Tid tid, int type, std::span<std::byte> into);
Result<> ptrace_setregset(Tid tid, int type, std::span<const std::byte> from);
Result<std::uint64_t> ptrace_getsigmask(Tid tid);
Result<> ptrace_setsigmask(Tid tid, std::uint64_t mask);
// All pending signals of the thread's own or of its process's shared queue, in order.
Result<std::vector<RawSignalInfo>> ptrace_peeksiginfo(Tid tid, SignalQueue queue);
Result<RseqConfiguration> ptrace_get_rseq_configuration(Tid tid);
Result<std::uint64_t> ptrace_geteventmsg(Tid tid);

struct SeccompProgram {
    std::vector<std::byte> program;  // struct sock_filter, eight bytes each
    std::uint32_t flags = 0;         // SECCOMP_FILTER_FLAG_*
};
// The index-th seccomp filter of a stopped thread, counted from the newest; nothing behind the last
// one, and for a thread without filters. Needs CAP_SYS_ADMIN (Linux 4.4; flags: 4.16).
Result<std::optional<SeccompProgram>> ptrace_seccomp_get_filter(Tid tid, unsigned index);

// waitpid(tid, __WALL | WNOHANG): the status, or nothing if the thread has not changed state.
// ECHILD (not ours, or gone) is Kind::Gone.
Result<std::optional<int>> wait_nohang(Tid tid);
// waitpid(tid, __WALL): blocks until the state changes.
Result<int> wait_blocking(Tid tid);

// waitpid(2) has no timeout. While this object lives, SIGCHLD, which the kernel sends for each
// change of state of a child or tracee, is blocked in the calling thread, so that sleep() can wait
// for it.
//   ChildSignal signal;
//   while (!TRY(wait_nohang(tid))) signal.sleep(longest);
// A thread of ours that does not block SIGCHLD may take it, so `longest` should be short.
class ChildSignal {
  public:
    ChildSignal();
    ChildSignal(const ChildSignal&) = delete;
    ChildSignal& operator=(const ChildSignal&) = delete;
    ~ChildSignal();
    // Returns when SIGCHLD has come since the last call, or after that time.
    void sleep(std::chrono::microseconds longest) const;

  private:
    sigset_t before_;
};

}  // namespace ferry::os
