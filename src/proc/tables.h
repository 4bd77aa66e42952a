// The smaller files of /proc/PID: limits, cgroup, timers, auxv, children.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/types.h"

namespace ferry::proc {

// One line of limits; RLIM_INFINITY is ~0.
struct Limit {
    std::string name;  // "Max open files"
    std::uint64_t soft = 0, hard = 0;
    bool operator==(const Limit&) const = default;
};
Result<std::vector<Limit>> parse_limits(std::string_view text);

// One line of cgroup: "4:memory:/a" or "0::/b".
struct CgroupLine {
    int hierarchy = 0;
    std::string controllers;  // "" for cgroup v2
    std::string path;
    bool operator==(const CgroupLine&) const = default;
};
Result<std::vector<CgroupLine>> parse_cgroups(std::string_view text);

// One timer of timers (CONFIG_CHECKPOINT_RESTORE): what timer_create(2) was given.
struct TimerLine {
    int id = 0;
    int signal = 0;
    std::uint64_t value = 0;  // sigev_value
    int notify = 0;           // SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD; | SIGEV_THREAD_ID
    pid_t target = 0;         // the tid or pid that the signal goes to
    int clock = 0;
    bool operator==(const TimerLine&) const = default;
};
Result<std::vector<TimerLine>> parse_timers(std::string_view text);

// Pairs, up to and with AT_NULL.
Result<std::vector<std::uint64_t>> parse_auxv(std::string_view bytes);

// Space-separated ids.
Result<std::vector<Pid>> parse_children(std::string_view text);

// "pos:\t0", "flags:\t02", "mnt_id:\t29" and what else stands in fdinfo, one key each.
// The value of `key` in such "key:\tvalue" lines, without blanks around it; empty if there is none.
std::string_view find_field(std::string_view text, std::string_view key);

}  // namespace ferry::proc
