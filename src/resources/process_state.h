// The state of one process that its threads share, apart from memory and files: signal actions,
// timers, limits, control groups, namespaces. Collected; the restoring half is restore/.
#pragma once

#include "base/error.h"
#include "model/process.h"
#include "proc/process_directory.h"
#include "proc/status.h"
#include "trace/questions.h"
#include "trace/remote_calls.h"
#include "trace/tracee.h"

namespace ferry::resources {

// What seldom changes and is readable while the process runs: namespaces, control groups,
// personality, oom_score_adj, limits.
Result<> collect_attributes(Pid pid, const proc::ProcessDirectory& directory,
                            model::Process& process);
Result<model::NamespaceIds> namespaces_of(const proc::ProcessDirectory& directory);

// Timers go on in the freeze, so pending signals are to be read after the questions were put: what
// expires in between is then seen either as time left or as a signal.
Result<> collect_pending(const trace::Tracee& stopped, model::Process& process);

// In the freeze, at any thread of the process. Signal actions, interval and POSIX timers, the
// subreaper attribute, dumpable and the exact end of the heap arrive in `process` when the
// questions are put; umask, pending signals and the use of huge pages at once.
Result<> ask_process(trace::Questions& questions, const proc::ProcessDirectory& directory,
                     model::Process& process);

// In the freeze: which barriers the process has registered for (membarrier(2),
// MEMBARRIER_CMD_GET_REGISTRATIONS, Linux 6.3). Not asked where its seccomp filters forbid it.
Result<> ask_registrations(trace::RemoteCalls& calls, model::Process& process);

}  // namespace ferry::resources
