// Starting another program. Safe in a process with threads: posix_spawn(3) runs no code of ours
// between fork and exec.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"

namespace ferry::os {

struct SpawnRequest {
    std::string path;
    std::vector<std::string> arguments;  // argv[0] first
    // (our descriptor, its number in the child). Every other descriptor above 2 is closed there.
    std::vector<std::pair<int, int>> descriptors;
    // In a process group of its own: a terminal's Ctrl-C does not reach it.
    bool own_group = false;
};

// The child starts with default signal dispositions and an empty signal mask.
Result<Pid> spawn(const SpawnRequest& request);
// execv(3): this process becomes the program at `path`. Returns only to tell why not.
Error execute(const std::string& path, const std::vector<std::string>& arguments);
// Waits for a child and reaps it; the status of waitpid(2).
Result<int> wait_child(Pid child);

}  // namespace ferry::os
