// Control groups by path, where they exist.
#pragma once

#include "base/error.h"
#include "base/types.h"
#include "model/process.h"

namespace ferry::restore {

// Moves the process (with all its threads) into the groups that the model names, on every hierarchy
// where the path exists; elsewhere it stays where it is. `here` is the process, as we see it.
Result<> join_control_groups(Pid here, const model::Process& process);

}  // namespace ferry::restore
