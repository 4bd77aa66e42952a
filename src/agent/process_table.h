// The processes of this host, as /proc tells of them. Thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

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

// SIGCONT for what is in SIGSTOP of the tree with this root, if that is still the process that
// started then. Returns to how many.
Result<int> continue_tree(Pid root, std::uint64_t started);

}  // namespace ferry::agent
