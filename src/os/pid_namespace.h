// Process ids of another pid namespace, as they are there and as they are in ours
// (pid_namespaces(7); NS_GET_PID_FROM_PIDNS and its kin, Linux 6.11, ioctl_nsfs(2)).
#pragma once

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"

namespace ferry::os {

// Default: our own namespace, in which both are the same. Any thread may use it.
class PidNamespace {
  public:
    PidNamespace() = default;
    // That a process is in, by its id as we see it. Gone: there is no such process.
    static Result<PidNamespace> of(Pid process);

    [[nodiscard]] bool is_ours() const { return !fd_; }
    // Its /proc/PID/ns/pid; -1: ours.
    [[nodiscard]] int get() const { return fd_.get(); }
    // From there to ours. Gone: no such task there.
    [[nodiscard]] Result<Pid> ours(Pid theirs) const;
    [[nodiscard]] Result<Tid> ours(Tid theirs) const;
    // From ours to there. Gone: no such task, or it is not in that namespace.
    [[nodiscard]] Result<Tid> theirs(Tid ours) const;

  private:
    explicit PidNamespace(UniqueFd fd) : fd_(std::move(fd)) {}
    [[nodiscard]] Result<Tid> ask(unsigned long request, Tid id) const;
    UniqueFd fd_;
};

}  // namespace ferry::os
