// inotify(7), and files by their handle (open_by_handle_at(2)).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::os {

// Non-blocking.
Result<UniqueFd> inotify_init();
// The number of the watch.
Result<int> inotify_add_watch(int inotify, const std::string& path, std::uint32_t mask);
Result<> inotify_rm_watch(int inotify, int watch);

// O_PATH. `mount` is any descriptor, not an O_PATH one, in the file system. ESTALE: there is no
// such file any more. Needs CAP_DAC_READ_SEARCH.
Result<UniqueFd> open_by_handle(int mount, int type, std::span<const std::byte> handle);

}  // namespace ferry::os
