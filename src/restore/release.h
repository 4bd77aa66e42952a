// The last steps: every thread is stopped, the blob goes, registers are set, the tasks run.
#pragma once

#include <functional>

#include "base/error.h"
#include "model/checkpoint.h"
#include "restore/staged_tree.h"
#include "restore/tree.h"

namespace ferry::restore {

// Afterwards every thread is ptrace-stopped, complete, and the arena is mapped nowhere but in us.
Result<> set_registers(Tree& tree, const model::Checkpoint& checkpoint);

// Lets every thread go. The first error is returned, after everything was tried. `lasting` is
// called between the moment from which the tree outlives us and that in which its first thread
// runs.
Result<> release(Tree& tree, RunMode mode, const std::function<void()>& lasting);

}  // namespace ferry::restore
