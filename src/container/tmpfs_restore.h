// Puts the contents of a container's tmpfs mounts into those of the container that was made anew.
#pragma once

#include <string_view>

#include "base/error.h"
#include "base/types.h"
#include "container/config.h"

namespace ferry::container {

// `init` is the new container's first process. Applies an archive of TmpfsSource::collect(); a file
// that is there already stays the same file, so that descriptors and mappings of it remain good.
// Corrupt: the archive makes no sense, or is not about the tmpfs mounts that are here. Nothing
// outside of those mounts is touched whatever the archive says.
Result<> restore_tmpfs(Pid init, const Config& config, std::string_view archive);

}  // namespace ferry::container
