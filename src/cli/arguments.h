// Command lines as users of CRIU write them, in the form that CLI11 reads.
#pragma once

#include <string>
#include <vector>

namespace ferry::cli {

// argv without the program's name. getopt's peculiarities become plain long options:
//   -v, -vv, -v4, -verbosity=0 (an attached value that is no number counts as 0)  --verbosity=N
//   --manage-cgroups without a mode --manage-cgroups=soft
// Everything else, and everything after "--", stays.
[[nodiscard]] std::vector<std::string> rewrite_arguments(const std::vector<std::string>& arguments);

}  // namespace ferry::cli
