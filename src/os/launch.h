// Starting programs: in the caller's namespaces or in those of another process.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"

namespace ferry::os {

struct Launch {
    std::vector<std::string> arguments;  // [0] is looked up in PATH
    int namespaces_of = -1;              // pidfd of the process whose namespaces are entered
    int namespaces = 0;                  // CLONE_NEW*: which of them
    int stdin_fd = -1, stdout_fd = -1, stderr_fd = -1;  // -1: /dev/null
    std::vector<int> passed = {};  // become 3, 4, ...; every other descriptor above 2 is closed
    std::string directory = "/";
    std::vector<int> cgroup_procs = {};  // cgroup.procs files to join before the program starts
    bool dies_with_parent = true;        // PR_SET_PDEATHSIG of the starting thread
};

// A child we started, in a session of its own. Destructor: SIGKILL and reap.
class ChildProcess {
  public:
    // The error of a failed exec (or of entering the namespaces) is reported here, not by exit
    // status.
    static Result<ChildProcess> start(const Launch& launch);

    // A copy of this process that runs `body`, which must not return and must not allocate (I7).
    template <class Body>
    static Result<ChildProcess> fork(Body body) {
        auto [child, is_child] = TRY(clone());
        if (is_child) {
            body();
            __builtin_trap();
        }
        return std::move(child);
    }

    ChildProcess() = default;
    ChildProcess(ChildProcess&&) noexcept = default;
    ChildProcess& operator=(ChildProcess&& other) noexcept;
    ~ChildProcess();

    explicit operator bool() const { return static_cast<bool>(pidfd_); }
    // As seen by us.
    [[nodiscard]] Pid pid() const { return pid_; }
    [[nodiscard]] int pidfd() const { return pidfd_.get(); }
    Result<> send_signal(int signal) const;
    // Exit code, or 128 + signal; nullopt if it is still running after the timeout. Reaps: after a
    // value the object is empty.
    Result<std::optional<int>> wait(std::chrono::milliseconds timeout);

  private:
    static Result<std::pair<ChildProcess, bool>> clone();
    ChildProcess(Pid pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
    Pid pid_;
    UniqueFd pidfd_;
};

}  // namespace ferry::os
