// Opens the files of a Checkpoint again, in the host process; the caller hands the descriptors to
// the tasks (SCM_RIGHTS). The counterpart of files.h.
//
//   prepare(skeleton)   before the freeze: what does not depend on the final state: regular files
//                       of mappings, exe, cwd, which must be there; of descriptors those that are.
//                       May be repeated.
//   finish(final)       every file, with positions, contents, queues. TCP connections are complete
//                       but in repair mode: silent. Needs a route to each peer (any device will
//                       do); the source address need not be up, unless a connection is half-closed
//                       (below).
//   open_pidfds(final)  what finish() left out, when the last tasks are there.
//   settle_connections()  after commit: every connection is in its state, still in repair. It takes
//                       what its peer sends as it would outside of repair.
//   leave_repair()      when the address is up and before the tasks run: connections go live, what
//                       was never sent is sent now, unread datagrams are delivered, multicast
//                       groups are reported to the network.
//
// Half-closed connections (CLOSE_WAIT, FIN_WAIT2, CLOSING, LAST_ACK) need one TCP segment from
// their peer to get into their state. settle_connections() makes it and gives it to our own stack
// through loopback, marked with OpenOptions::inject_mark; a packet filter that holds traffic must
// let it pass.
//
// An epoll descriptor is opened empty: its targets are descriptors of the task and are added there.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "model/checkpoint.h"
#include "os/fd.h"
#include "os/pid_namespace.h"
#include "os/scope.h"

namespace ferry::resources {

// SO_MARK of segments injected into our own stack: what CRIU uses, so that a lock which CRIU's dump
// or ours has left on a connection lets them pass.
inline constexpr std::uint32_t kInjectMark = 0xC114;

// Where a tree is restored that does not live where we do, by its first process. Default: where we
// do.
struct Surroundings {
    os::UniqueFd root;                     // its root directory (O_PATH)
    os::UniqueFd network;                  // its network namespace
    os::UniqueFd ipc;                      // its IPC namespace
    os::PidNamespace pids;                 // its own
    std::optional<os::UserIds> user = {};  // root of its user namespace, if that is another
    static Result<Surroundings> of(Pid process);
};

struct OpenOptions {
    // Terminals become our own terminal (standard input).
    bool shell_job = false;
    bool external_unix = false;
    std::uint32_t inject_mark = kInjectMark;
    // Our descriptor of shared memory with this id, to be there when finish() opens its memfds; -1:
    // there is none.
    std::function<int(std::uint64_t id)> shared_memory = {};
    // Our descriptor of the master of the terminal with this index, which is the only one; -1:
    // there is none.
    std::function<int(std::uint32_t index)> terminal_master = {};
    // Our descriptor of what the container's runtime gives here as standard stream `number`; -1:
    // nothing.
    std::function<int(int number)> given_stream = {};
};

// Owns every opened descriptor. The destructor closes them; connections still in repair vanish
// silently, so dropping it before leave_repair() leaves no trace at the peers.
class OpenedFiles {
  public:
    explicit OpenedFiles(OpenOptions options);
    OpenedFiles(OpenedFiles&&) noexcept;
    OpenedFiles& operator=(OpenedFiles&&) noexcept;
    ~OpenedFiles();

    Result<> prepare(const model::Checkpoint& skeleton);
    // Before prepare(): the tree lives elsewhere.
    void settle_in(Surroundings surroundings);
    // The tree's pids must exist (stubs) when a file has an owner (F_SETOWN_EX).
    Result<> finish(const model::Checkpoint& checkpoint);
    // After finish(), when every task of the checkpoint is there, zombies that pidfds refer to
    // included (which may not have ended yet).
    Result<> open_pidfds(const model::Checkpoint& checkpoint);
    // Of both: the first error, after every connection has been tried. leave_repair() settles what
    // has not been.
    Result<> settle_connections();
    Result<> leave_repair();

    // A new description of an unlinked file that is mapped. Needs neither prepare() nor finish(),
    // which brings the content.
    Result<os::UniqueFd> open_ghost(const model::Checkpoint& checkpoint, model::FileId id);

    // The descriptor in our process, still owned here; -1 if there is none with this id.
    [[nodiscard]] int fd(model::FileId id) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::resources
