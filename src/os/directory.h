// Changing directories' entries: what os/fd.h does not have.
#pragma once

#include <string>

#include "base/error.h"

namespace ferry::os {

// renameat(2) within one directory; replaces what has the new name.
Result<> renameat(int directory, const std::string& from, const std::string& to);

}  // namespace ferry::os
