// The processes of this host, as /proc tells of them. Thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"

namespace ferry::agent {

// From /proc/PID/stat (proc_pid_stat(5)).
struct Process {
    pid_t parent = 0;
    std::string name;
    char state = '?';           // 'T': stopped by a signal
    std::uint64_t started = 0;  // clock ticks since boot
};
using ProcessTable = std::map<pid_t, Process>;

// Those that vanish meanwhile are left out.
Result<ProcessTable> all_processes();

// When this process started; nothing if there is none, or it has ended.
std::optional<std::uint64_t> start_of(Pid pid);

// A process that is known beyond its end: its pid may be another's by then.
struct KnownProcess {
    Pid pid;
    std::uint64_t started = 0;  // clock ticks since boot
    bool operator==(const KnownProcess&) const = default;
};

// Without those that are gone.
[[nodiscard]] std::vector<KnownProcess> known_processes(std::span<const Pid> pids);

// All of the tree with this root; empty if that is not there any more.
Result<std::vector<KnownProcess>> tree_of(const KnownProcess& root);

}  // namespace ferry::agent
