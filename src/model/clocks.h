// The clocks of a tree that its host's uptime decides, and the time namespace that it sees them
// through (time_namespaces(7), Linux 5.6). In nanoseconds.
#pragma once

#include <cstdint>

namespace ferry::model {

// CLOCK_MONOTONIC and CLOCK_BOOTTIME, read at one moment.
struct ClockTimes {
    std::uint64_t monotonic_ns = 0, boottime_ns = 0;
    bool operator==(const ClockTimes&) const = default;
};

// What a time namespace adds to the kernel's own clocks; nothing in the first one.
struct ClockOffsets {
    std::int64_t monotonic_ns = 0, boottime_ns = 0;
    bool operator==(const ClockOffsets&) const = default;
};

struct Clocks {
    // What the tree saw when it was frozen; of a skeleton: before anything of it was read. Zero:
    // unknown.
    ClockTimes seen;
    // Of the tree's time namespace; only of use on the same boot (Checkpoint::boot_id).
    ClockOffsets offsets;
    bool own_namespace = false;  // it is not the one that Ferry was in
    bool operator==(const Clocks&) const = default;
};

}  // namespace ferry::model
