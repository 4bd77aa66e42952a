// pidfds as files: of threads too, and of tasks that have ended (pidfd_open(2), PIDFD_GET_INFO of
// Linux 6.13). PidFd in process.h is for our own use of them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"
#include "os/pid_namespace.h"

namespace ferry::os {

// A thread that does not lead its process needs O_EXCL (PIDFD_THREAD, Linux 6.9) in `flags`;
// O_NONBLOCK is PIDFD_NONBLOCK. The task may be a zombie. Gone: there is no such task.
Result<UniqueFd> open_pidfd(Tid task, std::uint32_t flags);

// The wait status of a task that nobody can wait for any more (Linux 6.15). Nothing: it is still
// there, or the kernel does not tell.
std::optional<int> exit_status_of(int pidfd);

// Pidfds, one for each of `flags`, of one process of this pid namespace that has ended with this
// wait status and has been reaped: made for the purpose. No core is dumped.
Result<std::vector<UniqueFd>> pidfds_of_ended(const PidNamespace& pids, int status,
                                              std::span<const std::uint32_t> flags);

}  // namespace ferry::os
