// Who descends from whom, by the parents that /proc/PID/stat names.
#pragma once

#include <optional>

#include "base/types.h"

namespace ferry::proc {

// Whether the process is `root` or a descendant of it now. Nullopt: it, or a parent on the way, has
// ended meanwhile, or it is 0: nobody that our pid namespace shows.
std::optional<bool> descends_from(Pid pid, Pid root);

}  // namespace ferry::proc
