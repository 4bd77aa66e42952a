// Are the mounts of a container that was made anew those of its original?
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "container/config.h"
#include "proc/mounts.h"

namespace ferry::container {

// Unsupported, with the name of every difference: mounts that were made or taken away inside of the
// original, or mounted with other options since. What a configuration brings from outside (its root
// and what it binds) may lie on another file system, and control groups in another place, as long
// as it is mounted in the same places.
Result<> compare_mounts(const std::vector<proc::Mount>& original,
                        const std::vector<proc::Mount>& created, const Config& config);

// Those of a container's tmpfs mounts whose content is its own: made by its runtime, writable,
// whole, reachable.
std::vector<proc::Mount> own_tmpfs(const std::vector<proc::Mount>& mounts, const Config& config);

}  // namespace ferry::container
