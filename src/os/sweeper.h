// Directories that must go when this process does, however it ends (cgroups have no other owner).
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "os/launch.h"

namespace ferry::os {

// Starts a process in a session of its own that waits for our end and then removes the (by then
// empty) directories in the given order, trying for up to 20 seconds while they are busy. Ending it
// early (the destructor of ChildProcess does) leaves the directories alone.
Result<ChildProcess> sweep_after_death(const std::vector<std::string>& directories);

}  // namespace ferry::os
