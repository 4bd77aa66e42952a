// /proc/PID/syscall (proc_pid_syscall(5)): the system call in which a thread waits.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/error.h"

namespace ferry::proc {

struct Syscall {
    bool is_running = false;  // it can be anywhere, in a system call too
    long number = -1;         // -1: it waits, but in no system call
    std::array<std::uint64_t, 6> arguments = {};
};
Result<Syscall> parse_syscall(std::string_view text);

}  // namespace ferry::proc
