// Entering and creating namespaces, and mounts inside them. A pid namespace applies to the children
// of the caller only (pid_namespaces(7)); network and mount namespaces to the calling thread at
// once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"

namespace ferry::os {

// setns(2). `fd` is a pidfd (flags: any CLONE_NEW*, Linux >= 5.8) or a /proc/PID/ns file.
Result<> setns(int fd, int flags);
// The user namespace that owns the one behind this /proc/PID/ns file (NS_GET_USERNS, Linux 4.9,
// ioctl_ns(2)).
Result<UniqueFd> owner_of_namespace(int fd);
// unshare(2) of the calling thread.
Result<> unshare(int flags);

// One mount(2) of a namespace that is being set up. `make_directory` creates the target first.
struct MountStep {
    std::string source, target, type;
    unsigned long flags = 0;
    std::string data;
    bool make_directory = false;
};

// What the first process of a new pid namespace does before it reaps orphans for ever.
struct NamespaceInit {
    unsigned long new_namespaces = 0;  // CLONE_NEW*; CLONE_NEWPID is implied
    int inside_of = -1;                // pidfd: its pid and mount namespaces are the parents
    std::string hostname;              // with CLONE_NEWUTS
    std::vector<MountStep> mounts;     // in this order
    std::vector<int> cgroup_procs;     // cgroup.procs files to join
    // What /proc/PID/timens_offsets takes; not empty: in a time namespace of its own
    // (time_namespaces(7), Linux 5.6). The mounts give it a /proc of its own.
    std::string clock_offsets;
};

// A process that holds its namespaces open and reaps what is orphaned inside. When it is killed the
// kernel kills everything in its pid namespace; it dies with the thread that started it
// (PR_SET_PDEATHSIG). The caller reaps it.
struct NamespaceHolder {
    Pid pid;
    UniqueFd pidfd;
};
// Returns when the set-up is complete; a failed step is a System error that names it. Call it
// before the process starts threads, or from any thread: the child allocates nothing.
Result<NamespaceHolder> start_namespace(const NamespaceInit& init);

}  // namespace ferry::os
