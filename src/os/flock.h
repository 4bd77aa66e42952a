// Files that stand for a state: locked by who is in charge, replaced in one step.
#pragma once

#include <string>

#include "base/error.h"

namespace ferry::os {

// flock(2), LOCK_EX | LOCK_NB: false if another open file description holds the lock.
Result<bool> try_flock(int fd);
Result<> rename(const std::string& from, const std::string& to);

}  // namespace ferry::os
