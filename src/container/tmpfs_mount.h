// A tmpfs mount of a container, opened from outside through /proc/PID/root.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "container/config.h"
#include "os/fd.h"
#include "proc/mounts.h"

namespace ferry::container {

struct TmpfsMount {
    std::string path;  // in the container, without a leading slash: "dev/shm"
    dev_t device = 0;  // what is on another one is another mount
    os::UniqueFd directory;
};

// The root as the process sees it (O_PATH).
Result<os::UniqueFd> open_root(Pid pid);
// What is mounted there; the way to it stays inside of the root. Gone: it is not mounted any more.
Result<TmpfsMount> open_mount(int root, const proc::Mount& mount);
// Those that own_tmpfs() names of a process's mounts, by path.
Result<std::vector<TmpfsMount>> open_own_tmpfs(Pid pid, const Config& config);

}  // namespace ferry::container
