// System V semaphore sets of the calling thread's IPC namespace, and what processes owe them
// (SEM_UNDO).
//
// No file and no call shows an adjustment. But an operation that would take one out of its bounds
// fails with ERANGE (semop(2)), so a process is made to try some that cannot succeed: each ends in
// an operation that would have to wait (EAGAIN), and the kernel takes back what came before it.
#pragma once

#include <sys/sem.h>

#include <span>
#include <vector>

#include "base/error.h"
#include "model/ipc.h"
#include "model/process.h"
#include "proc/system_v.h"
#include "trace/remote_calls.h"

namespace ferry::resources {

// Whoever uses them must stand still.
Result<std::vector<model::SemaphoreSet>> read_semaphores();
// In a namespace that has none. Everybody may use them until settle_semaphores(). Needs
// CAP_CHECKPOINT_RESTORE (Linux 5.9).
Result<> make_semaphores(std::span<const model::SemaphoreSet> sets);
Result<> settle_semaphores(std::span<const model::SemaphoreSet> sets);

// What the process whose thread is borrowed has to undo. A set that it may not alter counts as one
// that it owes nothing. `operations_max`: the third number of kernel.sem.
Result<std::vector<model::SemaphoreUndo>> ask_undo(trace::RemoteCalls& calls,
                                                   std::span<const model::SemaphoreSet> sets,
                                                   std::uint64_t operations_max);
// The calls of semop(2) by which a process comes to owe this; the value stays as it is.
std::vector<std::vector<sembuf>> undo_operations(std::uint16_t value,
                                                 const model::SemaphoreUndo& undo);

}  // namespace ferry::resources
