// Which process tree a person means.
#pragma once

#include <string>

#include "base/error.h"
#include "base/types.h"

namespace ferry::agent {

// A number is a pid. Anything else is the exact command name (/proc/PID/comm) of a process; of a
// match and its matching descendants the topmost counts. Gone: there is none. Invalid: there are
// several (they are listed), or the text is empty.
Result<Pid> find_service(const std::string& text);

}  // namespace ferry::agent
