// pidfds (pidfd_open(2)): of processes and threads of the tree, zombies included, and of tasks that
// have ended and been waited for, of which only the end and the wait status is left. At the
// destination a task is another object of pidfs: inode numbers and file handles differ.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "model/checkpoint.h"
#include "os/fd.h"
#include "os/pid_namespace.h"
#include "resources/descriptions.h"

namespace ferry::resources {

// Unsupported: it is of a task that is neither in these processes nor a descendant of one. Gone:
// the task ended meanwhile.
Result<> check_pidfd(const Slot& slot, std::span<const Pid> tree);
// `copy` is a duplicate of the slot's descriptor. The same errors.
Result<model::PidFile> read_pidfd(int copy, const Slot& slot, std::span<const Pid> tree);

// All those of a checkpoint. `pids` is the tree's namespace, where every task is that they refer
// to.
Result<std::map<model::FileId, os::UniqueFd>> open_pidfds(const model::Checkpoint& checkpoint,
                                                          const os::PidNamespace& pids);

}  // namespace ferry::resources
