// The state of one thread, collected: registers, signals, credentials, scheduling and the
// addresses that the C library told the kernel. The thread is stopped; what only it can ask the
// kernel is asked through remote calls in it. The restoring half is restore/.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "model/process.h"
#include "proc/stat.h"
#include "proc/status.h"
#include "trace/questions.h"
#include "trace/tracee.h"

namespace ferry::resources {

// Everything that can be had without running anything in the thread. The registers are as they must
// be to start the thread elsewhere: an interrupted system call is issued again or returns EINTR.
// Pending signals come later, by collect_pending().
Result<model::Thread> collect_thread(const trace::Tracee& stopped);
// After the questions about timers were put (process_state.h says why).
Result<> collect_pending(const trace::Tracee& stopped, model::Thread& thread);

// What only the thread itself can ask: alternate stack, the address that is cleared at its end, the
// parent death signal, timer slack, securebits. The answers arrive in
// `thread` when the questions are put.
Result<> ask_thread(trace::Questions& questions, model::Thread& thread);

// Unsupported: a scheduling policy that is not carried.
Result<> check_policy(Tid tid, const proc::Stat& stat);

// Ids, groups, capabilities, no_new_privs; securebits are not in /proc.
[[nodiscard]] model::Credentials credentials_of(const proc::Status& status);

// 16 bits each of /proc/TID/stat and the CPU mask; an unrestricted mask is left empty, so that it
// does not restrict the thread on a host with more CPUs.
[[nodiscard]] bool is_unrestricted(const std::vector<std::uint8_t>& cpu_mask, int online_cpus);

}  // namespace ferry::resources
