// Regular files, directories and a few devices: everything that is opened again by its path.
// Nothing of the content is carried; the path must lead to the same file, with the same size, where
// it is opened. Regular files that have been unlinked are ghosts (ghost_file.h).
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "base/error.h"
#include "model/files.h"
#include "os/fd.h"
#include "resources/ghost_file.h"

namespace ferry::resources {

struct PathFile {
    struct stat status = {};
    std::string path;
    bool unlinked = false;          // a ghost: the path is what it was called
    bool is_message_queue = false;  // a POSIX one: the path is its name, such as "/name"
};

struct PathRules {
    bool shell_job = false;  // terminals are carried
    std::uint64_t ghost_bytes_max = kGhostBytesDefault;
    // Put before paths to look at them: "" or, for another mount namespace, "/proc/PID/root" of a
    // process there.
    std::string root = {};
    bool message_queues = false;  // POSIX message queues are carried
};

// `link` is a procfs link; `name` says for messages who holds it ("pid 12 fd 3"). Refused by name:
// deleted files other than ghosts that are small enough, POSIX message queues where the
// rules do not say so, paths that lead elsewhere by now, what is neither regular file, directory
// nor FIFO, and devices other than /dev/null, zero, full, random and urandom (terminals where the
// rules say so). Gone: the descriptor or the task vanished.
Result<PathFile> inspect_path(const std::string& link, const std::string& name,
                              const PathRules& rules);

// /dev/null, zero, full, random or urandom.
[[nodiscard]] bool is_carried_device(const struct stat& status);

[[nodiscard]] model::RegularFile to_regular_file(const PathFile& file, std::int64_t position);

// `flags` as F_GETFL gave them, without what open(2) must not be given again.
[[nodiscard]] std::uint32_t opening_flags(std::uint32_t flags);

// Opens it with `flags` as F_GETFL gave them and seeks. Error::Kind::Invalid, with the path, when
// the type or the size differs from what was recorded.
Result<os::UniqueFd> open_regular_file(const model::RegularFile& file, std::uint32_t flags,
                                       bool shell_job);

// Moves an opened file to the recorded position and checks the recorded size again.
Result<> settle_regular_file(int fd, const model::RegularFile& file, std::uint32_t flags);

}  // namespace ferry::resources
