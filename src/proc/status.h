// /proc/PID/status and /proc/PID/task/TID/status (proc_pid_status(5)).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/types.h"

namespace ferry::proc {

struct Status {
    std::string name;  // as the kernel escapes it: \n and \\ only
    std::uint32_t umask = 0;
    char state = '?';
    Pid process;  // Tgid
    Tid tid;      // Pid
    Pid parent;
    Pid tracer;                              // 0: none
    std::array<std::uint32_t, 4> uids = {};  // real, effective, saved, filesystem
    std::array<std::uint32_t, 4> gids = {};
    std::vector<std::uint32_t> groups;
    // NStgid, NSpid, NSpgid, NSsid: ours first, the innermost namespace's last.
    std::vector<pid_t> ns_pids, ns_tids, ns_groups, ns_sessions;
    int thread_count = 0;
    // Masks: bit 0 is signal 1.
    std::uint64_t pending_thread = 0, pending_process = 0, blocked = 0, ignored = 0, caught = 0;
    std::uint64_t cap_inheritable = 0, cap_permitted = 0, cap_effective = 0, cap_bounding = 0,
                  cap_ambient = 0;
    bool no_new_privileges = false;
    int seccomp_mode = 0;
    bool thp_enabled = true;
    bool core_dumping = false;
    std::uint64_t resident_kib = 0;  // VmRSS; 0 for kernel threads and zombies
    bool operator==(const Status&) const = default;
};

// Fields that the kernel does not print keep their defaults; Kind::Corrupt for one that makes no
// sense, and if there is no Pid line at all.
Result<Status> parse_status(std::string_view text);

}  // namespace ferry::proc
