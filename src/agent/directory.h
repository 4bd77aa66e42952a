// mkdir -p for the agent's own directories.
#pragma once

#include <string>

#include "base/error.h"

namespace ferry::agent {

// Makes what is missing of the path with mode 0700.
Result<> make_directories(const std::string& path);

}  // namespace ferry::agent
