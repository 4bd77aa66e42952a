// A tree that stands still: every thread of a process and of all its descendants, seized and
// stopped. The destructor thaws (I1), and the kernel does so if we die. Used on the thread that
// made it (I5).
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "os/process.h"
#include "proc/process_directory.h"
#include "trace/tracee.h"

namespace ferry::trace {

// One process of the tree.
struct FrozenProcess {
    Pid pid;
    Pid parent;  // as the tree was walked: 0 for the root
    bool is_zombie = false;
    int stop_signal = 0;  // of the group-stop that it is in anyway; 0: none
    os::PidFd pidfd;
    proc::ProcessDirectory directory;
    std::vector<Tracee> threads;  // the leader first; empty for a zombie
};

// Processes of a tree that are stopped before the others, which go on for that long, so that they
// finish what those have given them.
struct StopFirst {
    std::vector<Pid> pids;
    std::chrono::milliseconds then{0};
};

class Freeze {
  public:
    // Stops the tree. `expected` are processes that are likely to be in it (of an earlier walk);
    // they are stopped together with the root instead of one generation after the other. Those that
    // turn out not to be descendants are let go. Kind::Gone if the root ends meanwhile; Unsupported
    // if a thread cannot be seized or stopped. On failure everything runs again.
    static Result<Freeze> stop(Pid root, const std::vector<Pid>& expected = {},
                               const StopFirst& first = {});

    // Parents before their children.
    [[nodiscard]] std::vector<FrozenProcess>& processes() { return processes_; }
    [[nodiscard]] const std::vector<FrozenProcess>& processes() const { return processes_; }
    [[nodiscard]] FrozenProcess* find(Pid pid);
    [[nodiscard]] std::chrono::steady_clock::time_point since() const { return since_; }
    [[nodiscard]] std::size_t thread_count() const;

    // Everything runs on as before. Threads that have ended meanwhile are no error.
    Result<> thaw() &&;
    // The same, but the processes stand in SIGSTOP before any of their threads runs on.
    Result<> leave_stopped() &&;
    // SIGKILL for all; returns when each has ended and has been handed over to its parent.
    Result<> kill() &&;

  private:
    Freeze() = default;
    Result<bool> stop_new_processes(const std::vector<Pid>& pids);
    Result<bool> stop_new_threads();
    Result<> adopt(Pid pid);
    Result<bool> find_children();
    Result<> release();
    void order_by_generation(Pid root);

    std::vector<FrozenProcess> processes_;
    std::chrono::steady_clock::time_point since_;
};

}  // namespace ferry::trace
