// Seccomp filters of a process: read while its threads are stopped, and judged before anything is
// done in them. The restoring half is restore/task_state.h (the filters are installed by the task).
//
// While we trace a thread its filters are suspended (PTRACE_O_SUSPEND_SECCOMP, Linux 4.3), so that
// system calls which it makes for us pass. A tracer that is killed takes the suspension along, and
// the thread meets its filters in the middle of such a call: a filter that would end the process
// there is therefore refused (I1).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/process.h"
#include "trace/tracee.h"

namespace ferry::resources {

// Unsupported: the mode that /proc/TID/status shows is the strict one.
Result<> check_seccomp_mode(Tid tid, int mode);

// The oldest first; empty: none. The thread is stopped. Needs CAP_SYS_ADMIN.
Result<std::vector<model::SeccompFilter>> read_seccomp(const trace::Tracee& stopped);

// Unsupported, saying why: a filter that hands calls to a supervisor, or that would not merely fail
// one of the calls that we make in tasks, whatever its arguments.
Result<> check_seccomp(Pid pid, const std::vector<model::SeccompFilter>& filters);

// Whether the filters let a process that makes this call live, whatever its arguments.
[[nodiscard]] bool survives(const std::vector<model::SeccompFilter>& filters, long call);

// The filters that all of these stopped threads of one process have. Unsupported: they differ, they
// are not suspended while we trace, or check_seccomp() says no.
Result<std::vector<model::SeccompFilter>> collect_seccomp(std::span<const trace::Tracee> stopped);

}  // namespace ferry::resources
