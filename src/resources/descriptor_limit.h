// A tree's descriptors are all open in our process for a moment: RLIMIT_NOFILE's soft limit, 1,024
// by default, is raised to the hard one.
#pragma once

#include "base/error.h"

namespace ferry::resources {

Result<> raise_descriptor_limit();

}  // namespace ferry::resources
