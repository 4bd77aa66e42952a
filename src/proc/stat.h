// /proc/PID/stat and /proc/PID/task/TID/stat (proc_pid_stat(5)).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/types.h"

namespace ferry::proc {

// Fields by their names in the manual page. Address fields are 0 for readers without ptrace access.
struct Stat {
    Pid pid;
    std::string comm;
    char state = '?';  // R S D Z T t X I
    Pid parent;
    Pid group;
    Pid session;
    int tty = 0;
    Pid foreground;                        // the group that its terminal has there; -1: none
    unsigned flags = 0;                    // PF_*
    std::uint64_t child_minor_faults = 0;  // of descendants that were waited for (cminflt)
    long priority = 0;
    long nice = 0;
    int thread_count = 0;
    std::uint64_t start_time = 0;  // clock ticks since boot; with the pid it identifies a task
    std::uint64_t start_code = 0, end_code = 0, start_stack = 0;
    unsigned rt_priority = 0;
    unsigned policy = 0;  // SCHED_*
    std::uint64_t start_data = 0, end_data = 0, start_brk = 0;
    std::uint64_t arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;
    int exit_code = 0;  // wait status of a zombie
    bool operator==(const Stat&) const = default;

    [[nodiscard]] bool is_zombie() const { return state == 'Z' || state == 'X'; }
    // Ended or about to: its memory and files may be gone already.
    [[nodiscard]] bool is_ending() const {
        return is_zombie() || (flags & 0x4u) != 0;
    }  // PF_EXITING
    [[nodiscard]] bool is_kernel_thread() const {
        return (flags & 0x00200000u) != 0;
    }  // PF_KTHREAD
};

// Kind::Corrupt if the text is not a stat line.
Result<Stat> parse_stat(std::string_view text);

}  // namespace ferry::proc
