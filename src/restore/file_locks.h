// Locks of files, taken at the destination by the tasks that hold them (resources/file_lock.h).
//
// Where source and destination see the same file, the source's tasks hold their locks until they
// are dead, and they must live until nobody can send the tree back to them, which is after the
// commit. So: every lock that is free is taken in activation, by the stubs. One that is held
// elsewhere is taken late: after the destination has recorded that the tree runs here and the
// source has ended its own, but before the first task runs, so that no task is ever without its
// lock and nobody else can come in between but for the moment between that end and our next try.
#pragma once

#include <vector>

#include "base/error.h"
#include "model/checkpoint.h"
#include "restore/tree.h"

namespace ferry::restore {

// Takes all that it can, with the stubs; returns those that somebody else holds. Needs the
// descriptors in place.
Result<std::vector<model::FileLock>> take_locks(Tree& tree, const model::Checkpoint& checkpoint);

// Those again, once the tasks have their own registers and their stubs' code is gone: by remote
// calls in the stopped leaders. Returns the rest when it comes to one that is still held elsewhere.
Result<std::vector<model::FileLock>> take_late_locks(Tree& tree,
                                                     std::vector<model::FileLock> locks);

}  // namespace ferry::restore
