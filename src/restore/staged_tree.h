// The destination half of a process tree: stage, fill, activate, run (ARCHITECTURE.md).
//
//   create(skeleton)                 every task exists as a stub: an almost empty address space
//   that
//                                    holds our blob and the target's mappings, still without
//                                    content
//   write_pages() / read_pages()     pages land once, at their final addresses
//   update(skeleton)                 the source went on: tasks and mappings follow it
//   activate(final, files)           files, descriptors, timers, credentials, registers; afterwards
//                                    every thread is ptrace-stopped and complete
//   run()                            commit: they run, and are no longer ours
//
// Until run() the tree dies with us: every thread is traced with PTRACE_O_EXITKILL, and a stub that
// loses its socket ends itself (I2). The destructor kills and reaps everything that was made.
//
// Only the thread that called create() may call the other functions (I5), except write_pages(),
// which any thread may call as long as no other function runs.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "model/checkpoint.h"
#include "os/clone.h"
#include "os/fd.h"

namespace ferry::restore {

// The first stub of a tree, for whoever starts the process that becomes it.
struct RootImage {
    os::FlatImage flat;      // mapped as os::FlatImage says, entered at flat.entry
    int socket = -1;         // our descriptor of the stub's end of its socket
    int socket_number = -1;  // the number that the stub must have it under; above 2
};
// Starts it and returns its pid in our pid namespace. When it enters the image the process has all
// signals blocked, no rseq registration, and whatever mappings and other descriptors it came with;
// it need not have got there when the call returns. What becomes of the process after an error, or
// after the tree's, is up to the caller.
using StartRoot = std::function<Result<Pid>(const RootImage&)>;

// Opens an unlinked file of the checkpoint that is mapped: resources::OpenedFiles::open_ghost, for
// example. Called when the root's process is there.
using OpenGhost = std::function<Result<os::UniqueFd>(const model::Checkpoint&, model::FileId)>;

struct StageOptions {
    // How the root is made; empty: it is forked from us. A container runtime's process becomes the
    // root by this, with the namespaces, control groups and mounts that it was given.
    StartRoot start_root;
    // The root becomes a child of our parent instead of ours (--restore-sibling).
    bool sibling = false;
    // Put tasks into the control groups that the model names, where those exist here. Otherwise
    // they stay in ours.
    bool join_control_groups = false;
    // What the tree's time namespace is to add to the kernel's clocks (restore/clocks.h); nothing:
    // it stays in ours.
    std::optional<model::ClockOffsets> clocks = {};
    // Of the skeleton only the root is staged; the others come with update().
    bool root_alone = false;
    // Needed only where unlinked files are mapped; others are opened by their paths.
    OpenGhost open_ghost;
};

// Pages that lie together in memory and in a file.
struct FileRun {
    RemoteAddr address;
    std::uint64_t bytes = 0;   // a multiple of the page size
    std::uint64_t offset = 0;  // in the file
};

// Whole pages for a page-aligned address.
struct PageWrite {
    RemoteAddr address;
    std::span<const std::byte> bytes;
};

// How long the last activation took, and what it did.
struct ActivationReport {
    std::chrono::microseconds update{0};  // mappings and tasks that changed since the last update
    std::chrono::microseconds descriptors{0};  // sent, moved into place, epoll targets added
    std::chrono::microseconds processes{0};    // per-process programs
    std::chrono::microseconds threads{0};      // per-thread programs
    std::chrono::microseconds registers{0};    // stopped, blob removed, registers set
    std::chrono::microseconds total{0};
    // Locks of files that somebody else holds (restore/file_locks.h): take_late_locks(), or give
    // up.
    std::vector<model::FileLock> late_locks;
    std::uint32_t system_calls = 0;  // run inside the tasks
};

// Gives the descriptor in our process of an open file of the checkpoint; -1 where there is none.
// resources::OpenedFiles::fd, for example.
using FileLookup = std::function<int(model::FileId)>;

// Opens those of the checkpoint's files that refer to its tasks, which are all there now:
// resources::OpenedFiles::open_pidfds, for example. Before anybody looks such a file up.
using OpenPidfds = std::function<Result<>(const model::Checkpoint&)>;

enum class RunMode : std::uint8_t {
    Running,
    Stopped,  // SIGSTOP: --leave-stopped
};

class StagedTree {
  public:
    // Makes the processes and threads of the skeleton with their pids, sessions and process groups,
    // and their mappings. Needs of the skeleton: processes (pid, parent, group, session, threads'
    // tids, address_space, limits) and the files that mappings refer to. Errors: a pid that is in
    // use (Invalid, named); another vdso than the source's, a mapped file that is missing or
    // differs (Invalid, named); hard limits above ours without CAP_SYS_RESOURCE, a tree that had a
    // time namespace of its own and cannot have one here (Unsupported).
    // After an error nothing is left behind.
    static Result<StagedTree> create(const model::Checkpoint& skeleton,
                                     const StageOptions& options);

    StagedTree(StagedTree&&) noexcept;
    StagedTree& operator=(StagedTree&&) noexcept;
    ~StagedTree();

    // Follows the source: tasks that appeared or went, mappings that appeared, vanished or changed.
    // Pages of mappings that are in both stay. A process that appears is forked from its parent's
    // stub, so that it shares what has been filled there; what it must not have is dropped by
    // keep_pages() or drop_pages(). After an error the tree is only good for destruction.
    Result<> update(const model::Checkpoint& skeleton);

    // Writes whole pages at a page-aligned address; the range may span mappings. For a process that
    // was forked from a filled stub, pages that are equal already stay shared.
    Result<> write_pages(Pid pid, RemoteAddr address, std::span<const std::byte> pages);
    // Many at once cost few system calls; ascending is fastest.
    Result<> write_pages(Pid pid, std::span<const PageWrite> writes);
    // These pages are absent on the source (zero, or the file's own content). Ranges that are no
    // longer mapped are ignored.
    Result<> drop_pages(Pid pid, std::span<const AddrRange> ranges);
    // Drops what lies outside of the ranges (ascending) in mappings that carry private pages. For a
    // process that was forked from a filled stub: `present` is what it has at the source.
    Result<> keep_pages(Pid pid, std::span<const AddrRange> present);
    // Reads pages from a file into the task, with two threads of ours. pages_fd stays the caller's.
    Result<> read_pages(Pid pid, int pages_fd, std::span<const FileRun> runs);
    // Into shared memory (SharedMemory::id), once for all that have it.
    Result<> write_shared(std::uint64_t id, std::uint64_t offset, std::span<const std::byte> bytes);
    // Our descriptor of it, for what the checkpoint's files open; -1: there is none.
    [[nodiscard]] int shared_memory(std::uint64_t id) const;
    // Our descriptor of the master of the terminal with this index; -1: there is none.
    [[nodiscard]] int terminal_master(std::uint32_t index) const;
    // These pages of it are zeros.
    Result<> drop_shared(std::uint64_t id, std::uint64_t offset, std::uint64_t bytes);

    // Everything else. Calls update(final) first, so that what the last update() brought may be
    // skipped by the caller. Every file that a descriptor, cwd, root, exe or epoll target needs
    // must be in `files`. TCP connections may still be in repair mode. Does not grow with memory.
    Result<ActivationReport> activate(const model::Checkpoint& final, const FileLookup& files,
                                      const OpenPidfds& open_pidfds = {});

    // After activate(), and after whoever holds those locks has been told to let them go: tries
    // until all are taken. Limit: not within the time; the others are taken.
    Result<> take_late_locks(std::chrono::milliseconds timeout);

    // Commit: every thread is released. The tree is no longer ours, even if an error is returned.
    // `lasting` is called when it will outlive us and nothing of it runs yet: its root's life is
    // that of all from there on, and if we are killed before, the root dies with us.
    Result<> run(RunMode mode = RunMode::Running, const std::function<void()>& lasting = {}) &&;

    // One line: what the tree has lost that it could have had on another host; mostly empty.
    [[nodiscard]] const std::string& loss() const;

    // The root and all processes but zombies, as we see them.
    [[nodiscard]] Pid root_here() const;
    [[nodiscard]] std::vector<Pid> pids_here() const;

  private:
    struct Impl;
    explicit StagedTree(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::restore
