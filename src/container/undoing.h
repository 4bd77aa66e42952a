// Signs, directories below /run, that something of a container's is being made here or undone. A
// process that undoes after our death removes its sign last: it knows the container by its name
// only, and would take the next attempt's for its own.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::container {

// A new one, for us alone; its path. `what` is one word.
Result<std::string> make_aside(std::string_view what, const std::string& id);
// As long as this descriptor or a copy of it is open, somebody is at it.
Result<os::UniqueFd> hold_aside(const std::string& aside);
// Until there is none. Invalid: an earlier attempt is not undone in time. `take_over`, for signs
// that are held while somebody is at it, undoes what one that nobody holds any more speaks of.
Result<> await_undoing(std::string_view what, const std::string& id,
                       const std::function<Result<>()>& take_over = {});

}  // namespace ferry::container
