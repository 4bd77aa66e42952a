// The tables of System V objects of an IPC namespace, /proc/sysvipc/{shm,sem,msg} (sysvipc(7)): of
// the namespace of the thread that opens them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/types.h"

namespace ferry::proc {

// What every object has.
struct SystemVObject {
    std::int32_t key = 0;  // 0: IPC_PRIVATE, or marked for removal
    std::int32_t id = 0;
    std::uint32_t mode = 0;  // permissions, and SHM_DEST, SHM_LOCKED of segments
    std::uint32_t uid = 0, gid = 0, cuid = 0, cgid = 0;
    bool operator==(const SystemVObject&) const = default;
};

// Who used it, as the reader's pid namespace sees it (0: nobody who is in it), and when.
struct SystemVUse {
    Pid pid;
    std::int64_t time = 0;  // seconds since 1970; 0: not known
    bool operator==(const SystemVUse&) const = default;
};

struct SystemVSegment {
    SystemVObject object;
    std::uint64_t bytes = 0;
    std::uint64_t attached = 0;  // mappings of it, wherever
    SystemVUse created, last;    // the latter by shmat(2) or shmdt(2)
    bool operator==(const SystemVSegment&) const = default;
};
struct SystemVSemaphores {
    SystemVObject object;
    std::uint32_t count = 0;
    std::int64_t last = 0;  // semop(2), in seconds since 1970
    bool operator==(const SystemVSemaphores&) const = default;
};
struct SystemVQueue {
    SystemVObject object;
    std::uint32_t messages = 0;
    SystemVUse sent, received;  // last
    bool operator==(const SystemVQueue&) const = default;
};

Result<std::vector<SystemVSegment>> parse_system_v_segments(std::string_view text);
Result<std::vector<SystemVSemaphores>> parse_system_v_semaphores(std::string_view text);
Result<std::vector<SystemVQueue>> parse_system_v_queues(std::string_view text);

}  // namespace ferry::proc
