// Limits that a container was given after it was made (`runc update`): its configuration does not
// know them, its runtime's state does.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace ferry::container {

// What `runc update --resources` has to be told (LinuxResources of the OCI runtime specification)
// so that a container with the state `created` gets the limits of `original`; nothing where they
// are the same.
Result<std::optional<std::string>> changed_limits(std::string_view created,
                                                  std::string_view original);

}  // namespace ferry::container
