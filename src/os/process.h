// Processes: pidfds, signals, waiting, limits.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <chrono>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"

namespace ferry::os {

// A stable reference to a process: its pid cannot be reused unnoticed while this is open.
// Linux >= 5.3. The destructor only closes.
class PidFd {
  public:
    // Error::Kind::Gone if there is no such process.
    static Result<PidFd> open(Pid pid);

    [[nodiscard]] int get() const { return fd_.get(); }
    // Gone if the process has ended and been reaped.
    Result<> send_signal(int signal) const;
    // A duplicate of the process's descriptor (pidfd_getfd, Linux 5.6; needs
    // PTRACE_MODE_ATTACH_REALCREDS).
    [[nodiscard]] Result<UniqueFd> getfd(int remote_fd) const;
    // True once the process has exited (it may still be a zombie).
    [[nodiscard]] Result<bool> wait_exit(std::chrono::milliseconds timeout) const;

  private:
    explicit PidFd(UniqueFd fd) : fd_(std::move(fd)) {}
    UniqueFd fd_;
};

// Processor time of all threads of the process, those that have ended included; nanosecond
// resolution, unlike /proc/PID/stat (clock_getcpuclockid(3)). Gone if there is no such process.
Result<std::chrono::nanoseconds> processor_time(Pid pid);

// The processes that /proc shows now, in no order. `inode` is that of its directory there: another
// process that is given the same pid has another one.
struct ProcessEntry {
    Pid pid;
    std::uint64_t inode = 0;
    auto operator<=>(const ProcessEntry&) const = default;
};
Result<std::vector<ProcessEntry>> process_entries();

Result<> kill(Pid pid, int signal);
// prlimit64(2) of another process.
Result<struct rlimit64> prlimit(Pid pid, int resource);
Result<> set_prlimit(Pid pid, int resource, const struct rlimit64& limit);

}  // namespace ferry::os
