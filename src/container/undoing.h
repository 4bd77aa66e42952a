// Signs, directories below /run, that something of a container's is being made here or undone. A
// process that undoes after our death removes its sign last: it knows the container by its name
// only, and would take the next attempt's for its own.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace ferry::container {

// A new one, for us alone; its path. `what` is one word.
Result<std::string> make_aside(std::string_view what, const std::string& id);
// Until there is none. Invalid: an earlier attempt is not undone in time.
Result<> await_undoing(std::string_view what, const std::string& id);

}  // namespace ferry::container
