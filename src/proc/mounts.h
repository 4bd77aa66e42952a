// /proc/PID/mountinfo (proc_pid_mountinfo(5)): the mounts of a process's mount namespace that lie
// below its root, with their places as it sees them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace ferry::proc {

struct Mount {
    int id = 0;
    int parent = 0;  // of a mount outside of the list where that is the root
    std::uint32_t device_major = 0, device_minor = 0;
    std::string root;           // of the mount within its file system
    std::string point;          // as the process sees it
    std::string options;        // of the mount: "rw,nosuid"
    std::string propagation;    // the optional fields, "shared:3 master:2"
    std::string type;           // of the file system: "tmpfs", "fuse.sshfs"
    std::string source;         // what the file system calls its source
    std::string super_options;  // of the file system: "rw,size=65536k"
    bool operator==(const Mount&) const = default;

    [[nodiscard]] bool has_option(std::string_view option) const;
};

// In the kernel's order: of several at one place the last lies on top. Kind::Corrupt for text of
// another form, Kind::Limit beyond limits::kMountsMax lines.
Result<std::vector<Mount>> parse_mounts(std::string_view text);

}  // namespace ferry::proc
