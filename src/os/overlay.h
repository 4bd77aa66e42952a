// Overlays of directories (overlayfs.rst). Nothing is ever mounted where anybody could see it.
#pragma once

#include <span>
#include <string>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::os {

// What these directories show as the lower layers of an overlay, the uppermost first, read-only:
// its root. One alone is itself. fsmount(2); "lowerdir+", Linux 6.8. Not an empty list.
Result<UniqueFd> open_layers(std::span<const std::string> layers);

}  // namespace ferry::os
