// Files that stand for a state: locked by who is in charge.
#pragma once

#include "base/error.h"

namespace ferry::os {

// flock(2), LOCK_EX | LOCK_NB: false if another open file description holds the lock.
Result<bool> try_flock(int fd);

}  // namespace ferry::os
