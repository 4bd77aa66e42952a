// state.json, in which runc 1.1 keeps what it knows of a container: libcontainer's State.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/types.h"
#include "container/config.h"
#include "container/streams.h"

namespace ferry::container {

struct State {
    std::string id;
    Pid init;
    std::uint64_t init_start = 0;  // clock ticks since boot (proc_pid_stat(5)): tells a reused pid
    std::string bundle;            // absolute
    std::string rootfs;            // absolute
    // By controller, "name=systemd" for a named hierarchy and "" for version 2 beside version 1 or
    // alone.
    std::map<std::string, std::string> cgroup_paths;
    // Where the standard streams of its first process led when it was made (proc_pid_fd(5)).
    StreamLinks streams;
    ConfiguredIds ids = {};  // of its user namespace
    bool rootless = false;
    bool systemd_cgroup = false;
    std::string apparmor_profile;
    std::string selinux_label;
};

// Corrupt, with the name of what makes no sense; Limit.
Result<State> parse_state(std::string_view text);

// The state of a container that was made by config_for_creation(), with what was altered for it put
// right: as in the original what confines its programs, limits, the bundle's path, the time of
// creation; and where its standard streams lead here, if anywhere. Everything else stays
// `created`'s.
Result<std::string> with_original_process(std::string_view created, std::string_view original,
                                          const std::string& bundle, const StreamLinks& streams);

}  // namespace ferry::container
