// The state of processes and threads that they must set themselves.
#pragma once

#include "base/error.h"
#include "model/checkpoint.h"
#include "restore/tree.h"

namespace ferry::restore {

// Signal actions, umask, huge pages; from outside: oom_score_adj. Before the threads give up
// privileges.
Result<> set_process_state(StubProcess& process, const model::Process& wanted);
// Its seccomp filters, for all its threads, which have been made. They do not act before the
// threads are released, because a tracer suspends them (trace/tracee.h); children forked later
// would have them unsuspended. Before the credentials: installing takes CAP_SYS_ADMIN.
Result<> install_seccomp(StubProcess& process, const model::Process& wanted);

// Appends what a thread must set itself: stacks, lists, name, credentials, signals.
void add_thread_state(Program& program, const model::Process& process, const model::Thread& thread,
                      bool same_credentials);

// Timers, limits, pending signals of the process, dumpable; then the blob's socket is closed.
Result<> finish_process(StubProcess& process, const model::Process& wanted);

// Those of a process as it sees them itself, with our own secure bits: ours, or what the runtime of
// a container has given to the root stub. Every stub of the tree begins with them.
Result<model::Credentials> first_credentials(Pid process);

// PR_TIMER_CREATE_RESTORE_IDS (Linux 6.15): a timer gets the id that is asked for.
inline constexpr int kTimerCreateRestoreIds = 77;

}  // namespace ferry::restore
