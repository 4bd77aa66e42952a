// Capabilities by the names that an OCI configuration uses (capabilities(7)).
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace ferry::container {

// Those that a program which we start can have: in our bounding set.
Result<std::vector<std::string>> grantable_capabilities();

}  // namespace ferry::container
