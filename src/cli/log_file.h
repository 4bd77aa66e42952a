// Where the program's log lines go, and how many: -o and -v. Lines look as CRIU's do, seconds since
// the start in front: "(00.000123) Error: ...".
#pragma once

#include <string>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::cli {

// CRIU's -v numbers; above 4 is 4.
inline constexpr int kDefaultVerbosity = 2;

// path is relative to directory; "-" is standard output, "" standard error. Errors are always
// logged. Call it once, before threads start. The file stays open until the program ends.
Result<> open_log(int directory, const std::string& path, int verbosity);

// Somebody who reads standard error sees the log.
[[nodiscard]] bool log_is_standard_error();

}  // namespace ferry::cli
