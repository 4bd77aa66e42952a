// Changing directories' entries: what os/fd.h does not have.
#pragma once

#include <string>

#include "base/error.h"

namespace ferry::os {

// renameat(2); replaces what has the new name.
Result<> renameat(int from_directory, const std::string& from, int to_directory,
                  const std::string& to);

}  // namespace ferry::os
