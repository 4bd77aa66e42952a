// Another program of Ferry's, beside this one, so that both are of one version.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace ferry::cli {

// This process becomes it; `words` is its argv, by whose first it is known to ps(1) and pgrep(1).
// Returns only to tell why not.
Error become_sibling(const std::string& program, const std::vector<std::string>& words);

}  // namespace ferry::cli
