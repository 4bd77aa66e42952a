// Which process tree a person means.
#pragma once

#include <string>

#include "base/error.h"
#include "base/types.h"

namespace ferry::agent {

struct Service {
    Pid root;
    std::string container;  // its name; empty: a tree of processes
};
// A number is a pid. Anything else is the name of a container whose state lies under
// `runtime_root`, or Podman's name or id of one (12 digits of it at least), or else the exact
// command name (/proc/PID/comm) of a process; of a match and its matching descendants the topmost
// counts. Gone: there is none. Invalid: there are several (they are listed), or the text is empty.
Result<Service> find_service(const std::string& text, const std::string& runtime_root);

}  // namespace ferry::agent
