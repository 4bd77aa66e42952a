// The processes of a tree as they are at one moment, while it runs.
#pragma once

#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "proc/process_directory.h"

namespace ferry::dump {

struct Found {
    Pid pid;
    Pid parent;  // 0 for the root
    proc::Stat stat;
};

// Parents before children (proc_pid_task_children(5)). What vanishes meanwhile is left out. Gone:
// the root has ended.
Result<std::vector<Found>> walk(Pid root);
// A child of vfork(2) is none of the tree's processes until it has called execve(2), a moment
// later; its parent cannot be stopped before. Unsupported: it shares its parent's memory for longer
// than that.
Result<> leave_out_vforked(std::vector<Found>& found);
// Whether the two use one address space; false if one has ended.
Result<bool> shares_memory(Pid pid, Pid parent);
std::unexpected<Error> refuse_shared_memory(Pid pid, Pid parent);

// Whether it is no longer there to be asked.
bool has_ended(const Found& found);
std::vector<Pid> pids_of(const std::vector<Found>& found);

}  // namespace ferry::dump
