// Collects the open files of a process tree into the model, from outside: /proc/PID/fd, fdinfo,
// kcmp(2) and short-lived duplicates made by pidfd_getfd(2). No code runs in the tasks.
//
// Two phases. `prepare` runs while the tree runs: it looks at everything, refuses by name what is
// not carried (Error::Kind::Unsupported; the message says pid, fd, what it is and what to do) and
// fills the tables of paths. `collect` runs while every thread of the tree is stopped: it re-checks
// the identities and reads what changes (positions, queues, counters, sequence numbers).
//
// No duplicate of a task's socket outlives prepare(): a connection that the service closes
// meanwhile must really close. collect() keeps those of TCP connections.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "model/files.h"
#include "model/memory.h"
#include "proc/maps.h"
#include "resources/ghost_file.h"
#include "resources/given_stream.h"
#include "resources/posix_queue.h"

namespace ferry::resources {

struct FileOptions {
    // Carry TCP connections that have a peer. Without it they are refused by name.
    bool tcp_established = false;
    // Terminals are carried: opened again as the terminal of whoever restores.
    bool shell_job = false;
    // A unix datagram or stream socket may be connected to a bound path outside the tree.
    bool external_unix = false;
    // Locks of files are carried. Without it they are refused by name.
    bool file_locks = false;
    // POSIX message queues are carried, since the tree has an IPC namespace of its own.
    bool message_queues = false;
    // Unlinked files are carried up to this size on their disk; larger ones are refused by name.
    std::uint64_t ghost_bytes_max = kGhostBytesDefault;
    // The first process of the container that the tree is; 0: the tree lives where we do. Paths are
    // those of its root directory, sockets those of its network namespace.
    Pid container = {};
    // What the container's runtime gave to that process as standard streams.
    StreamLinks given = {};
    // The terminal that it gave instead, by its index.
    std::optional<std::uint32_t> given_terminal = {};
};

// Told of each connection that a frozen tree has, before it enters TCP_REPAIR for the first time,
// and when nothing more will be done to it: so that a guardian that shares our descriptor table can
// end repair when we die (I1), or enter it where the tree must end unheard. `fd` is ours. Ending it
// means setsockopt(TCP_REPAIR, 0) and then SO_REUSEADDR set to `reuse_address`, which TCP_REPAIR
// overwrites. Called on the collecting thread, inside the freeze: implementations must not block.
class RepairRegistry {
  public:
    virtual ~RepairRegistry() = default;
    virtual void add(int fd, bool reuse_address) = 0;
    virtual void remove(int fd) = 0;
};

struct ProcessFiles {
    Pid pid;
    std::vector<model::Descriptor> descriptors;  // ascending by fd
};

struct CollectedFiles {
    std::vector<model::OpenFile> files;  // ascending by id: descriptors' and registered paths
    std::vector<model::Pipe> pipes;
    std::vector<model::GhostFile> ghosts;  // ascending by id
    std::vector<model::FileLock> locks;
    std::vector<model::Terminal> terminals;  // ascending by index
    std::vector<OpenQueue> queues;           // that the tree has open, each at least once
    std::vector<ProcessFiles> processes;     // in the order of the pids given
    // Not empty: something transient is in the way (a connection that was not accepted yet, a
    // handshake under way). Nothing else is filled in and nothing is in repair: let the tree run a
    // few milliseconds and freeze it again.
    std::string busy;
    // With it: the processes whose connections to another of the tree were not accepted yet. While
    // they stand still alone, the other gets to them.
    std::vector<Pid> waiting;
};

// Owned by the dumping session, used on one thread. The destructor rolls back.
class FileCollector {
  public:
    FileCollector(FileOptions options, RepairRegistry* registry);
    FileCollector(FileCollector&&) noexcept;
    FileCollector& operator=(FileCollector&&) noexcept;
    ~FileCollector();

    // Outside the freeze; may be repeated (each pre-copy round), which keeps what is learned fresh.
    // Tasks and descriptors that vanish meanwhile are no error.
    Result<> prepare(std::span<const Pid> pids);

    // What VMAs, exe, cwd and root refer to. The final skeleton starts with begin_paths(): files
    // that are not added again after it are left out of collect(). Ids are stable across rounds:
    // the same path, inode and flags give the same id.
    void begin_paths();
    // `link` is a procfs link ("/proc/12/exe", "/proc/12/cwd", "/proc/12/map_files/a-b"). `flags`
    // are what the file is opened with (O_RDONLY, O_RDWR, O_RDONLY|O_DIRECTORY). Paths that now
    // lead to another file are refused by name, and deleted files that are no ghosts;
    // memfds are not.
    Result<model::FileId> add_path(const std::string& link, std::uint32_t flags);
    // The same for what a task maps, `line` of its maps. Looked at once for each file: processes
    // map many parts of the same ones.
    Result<model::FileId> add_mapped(Pid pid, const proc::MapsEntry& line, std::uint32_t flags);

    // The registered files as they are now, each memfd once, and what it takes long to open of what
    // prepare() has seen: for a skeleton that is sent ahead of the freeze. Follows prepare().
    Result<std::vector<model::OpenFile>> path_files();
    // As the last prepare() found them.
    [[nodiscard]] const std::vector<model::Terminal>& terminals() const;
    // By name, the network devices without which its sockets cannot be made again: they are bound
    // to them, or take part in multicast groups there. As the last prepare() found them.
    [[nodiscard]] const std::set<std::string>& network_devices() const;
    // Of the paths, those that have been unlinked, without their content.
    [[nodiscard]] std::vector<model::GhostFile> path_ghosts() const;

    // May be called as soon as the tree stands still and nothing reaches its sockets any more:
    // starts in a thread of its own what collect() would wait for.
    void begin_collect();
    // Inside the freeze. Connections are in repair only while they are read: were we killed then,
    // the tasks could run before the guardian has ended it.
    Result<CollectedFiles> collect(std::span<const Pid> pids);

    // The tree goes on here: each connection sends a window probe, for it may have missed
    // something. Closes the duplicates.
    void rollback();
    // The tree is about to be killed here: its connections enter repair, so that their end sends
    // neither FIN nor RST. Closes the duplicates; the registry forgets them. Only after commit.
    void silence();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::resources
