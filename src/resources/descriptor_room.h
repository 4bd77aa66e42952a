// A tree's descriptors are all open in our process for a moment. Before that moment there has to be
// room for them.
//
// The kernel's table of a process that has threads grows only after a grace period of RCU
// (kernel: fs/file.c, expand_fdtable), 5 to 25 ms each time that its size doubles: too long for a
// freeze.
#pragma once

#include <cstddef>

#include "base/error.h"

namespace ferry::resources {

// Raises RLIMIT_NOFILE's soft limit, 1,024 by default, to the hard one, and lets the table grow to
// `expected` descriptors, or as many as that limit allows, and never to less than some thousands.
Result<> make_room_for_descriptors(std::size_t expected = 0);

}  // namespace ferry::resources
