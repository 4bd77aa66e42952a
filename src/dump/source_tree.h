// The source half: one process tree that is to be dumped or moved.
//
//   open()               preflight; what cannot be carried is refused by name, nothing is stopped
//   skeleton()           tasks and mappings as they are now; repeated each round of pre-copy
//   make_userfaultfd()   a stop of one thread for some microseconds
//   freeze()             every thread of every process stands still
//   collect()            the whole Checkpoint
//   Frozen::thaw() or Frozen::kill()
//
// All calls come from one thread (I5). Whatever happens to this process, its SIGKILL included, the
// tree runs on as before, until kill() (I1).
#pragma once

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "model/checkpoint.h"
#include "os/fd.h"
#include "resources/files.h"
#include "trace/freeze.h"

namespace ferry::dump {

struct SourceOptions {
    resources::FileOptions files;
    // The tree is all of a container: it lives in the namespaces of its root. Otherwise it must
    // live in ours.
    bool is_container = false;
};

// What of the freeze took how long, from the first thread's stop.
struct FreezeTimes {
    std::chrono::microseconds stop{0};      // until every thread stood still
    std::chrono::microseconds tasks{0};     // registers, signals, timers, credentials
    std::chrono::microseconds mappings{0};  // address spaces compared or read again
    std::chrono::microseconds files{0};     // descriptors, sockets, pipes
};

// A frozen tree. The destructor thaws. While it lives, the thread that froze has real-time priority
// (os/schedule.h).
class Frozen {
  public:
    Frozen(Frozen&&) noexcept;
    Frozen& operator=(Frozen&&) noexcept;
    ~Frozen();

    // The processes that stand still, parents before children.
    [[nodiscard]] const std::vector<Pid>& pids() const;
    // Those of them that hold() puts into SIGSTOP: not in a group-stop anyway, nor zombies.
    [[nodiscard]] std::vector<Pid> going() const;
    // When the first thread was asked to stop.
    [[nodiscard]] std::chrono::steady_clock::time_point since() const;
    // Before somebody else decides whether the tree runs on elsewhere (I2): if we die from here on,
    // it does not run on but stands in SIGSTOP, for SIGCONT or SIGKILL. thaw() takes it back.
    Result<> hold();
    // The same while several decide together: if we die, that decides against it where nothing is
    // decided yet (Guardian::decide_as), and after a decision against it the tree goes on.
    Result<> hold_until(const std::string& decision);
    // The tree runs elsewhere: if we die from here on, it is killed. Follows hold().
    Result<> condemn();
    // Every thread goes on.
    Result<> thaw() &&;
    // Every thread is left in SIGSTOP (--leave-stopped).
    Result<> leave_stopped() &&;
    // After commit: the tree ends here, even if we die meanwhile. Connections enter repair mode, so
    // that peers see neither FIN nor RST. Returns when the processes are dead, or have been told to
    // die where their parent must reap.
    Result<> kill() &&;

  private:
    friend class SourceTree;
    struct Impl;
    explicit Frozen(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

// Either a whole checkpoint, or the transient reason why there is none (see
// resources::CollectedFiles).
struct Collected {
    model::Checkpoint checkpoint;
    std::string busy;
    std::vector<Pid> waiting;  // with it: see CollectedFiles::waiting
    FreezeTimes times;
};

using trace::StopFirst;

class SourceTree {
  public:
    // Gone: no such process. Invalid: ourselves, our ancestor, a kernel thread, or traced by
    // another. Unsupported: something in it is not carried; the message names it and says what to
    // do.
    static Result<SourceTree> open(Pid root, const SourceOptions& options);
    SourceTree(SourceTree&&) noexcept;
    SourceTree& operator=(SourceTree&&) noexcept;
    ~SourceTree();

    [[nodiscard]] Pid root() const;
    // Outside the freeze: processes, threads' ids, address spaces, and the files that mappings,
    // exe, cwd and root refer to. Processes that vanish while it looks are left out. Also repeats
    // the preflight of files for what is new.
    Result<model::Checkpoint> skeleton();
    // What the last skeleton() has found: FileCollector::network_devices().
    [[nodiscard]] const std::set<std::string>& network_devices() const;
    // Flags O_CLOEXEC | O_NONBLOCK; nothing of it stays in the process.
    Result<os::UniqueFd> make_userfaultfd(Pid pid);
    // `first` may name processes that are gone.
    Result<Frozen> freeze(const StopFirst& first = {});
    // Gives every task, group and session of a checkpoint that came from here the id that it has
    // for the tree itself. Differs for a container only.
    Result<> number_from_inside(model::Checkpoint& checkpoint) const;
    [[nodiscard]] Result<Pid> number_from_inside(Pid pid) const;
    // In the freeze. Its processes may differ from the last skeleton's: the caller compares. The
    // ids of files that mappings refer to are those of the last skeleton.
    Result<Collected> collect(Frozen& frozen);
    // In the freeze, before the tree is given up: Limit if a request of an aio context has ended
    // since collect(), so that the checkpoint lacks its event.
    Result<> check_aio(const model::Checkpoint& collected) const;
    // Takes the tree's locks of files away from it (those of its last collect()), for which the
    // destination waits. Only of a tree that is held. A failure may leave some.
    Result<> release_locks(Frozen& frozen, std::span<const model::FileLock> locks);
    // Gives them back. A failure may leave some out: somebody else has got one meanwhile.
    Result<> take_locks_back(Frozen& frozen, std::span<const model::FileLock> locks);

  private:
    struct Impl;
    explicit SourceTree(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::dump
