#include "proc/ancestry.h"

#include <cstdint>

#include "base/limits.h"
#include "proc/process_directory.h"

namespace ferry::proc {

std::optional<bool> descends_from(Pid pid, Pid root) {
    // Parents are read one after the other, so a reused pid could close a circle: bounded.
    for (std::uint32_t steps = 0; steps < limits::kTasksMax; ++steps) {
        if (pid == root) return true;
        const auto directory = ProcessDirectory::open(pid);
        if (!directory) return std::nullopt;
        const auto stat = directory->stat();
        if (!stat) return std::nullopt;
        pid = stat->parent;
        if (pid.value <= 1) return pid == root;
    }
    return false;
}

}  // namespace ferry::proc
