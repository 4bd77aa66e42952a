// A frozen tree as one value: everything but the content of its pages. Dump makes it, image/ stores
// it, restore consumes it. A Checkpoint that came out of image/ has been validated: every id
// resolves, ranges are ordered, the first process is the root.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/types.h"
#include "model/clocks.h"
#include "model/files.h"
#include "model/ipc.h"
#include "model/process.h"
#include "model/terminal.h"

namespace ferry::model {

// Memory that lives in no file system: an object that processes map (VmaKind::AnonShared), a
// memfd, or a System V segment. Carried once, whoever has it.
struct SharedMemory {
    std::uint64_t id = 0;     // Vma::shared_id, or the memfd's inode
    std::uint64_t bytes = 0;  // whole pages: up to the last one that is mapped, or a memfd's size
    bool no_reserve = false;
    Pid pid;  // one of those that map it, and where; not of a memfd, nor if nobody does
    AddrRange range;
    std::optional<MemoryFile> file = {};     // a memfd
    std::optional<IpcSegment> segment = {};  // its id is kSegmentIds and its own
    // In the names of image files: CRIU's have a segment's own id there, which some inode may have.
    std::uint64_t label = 0;
};

struct Checkpoint {
    std::vector<Process> processes;  // parents before their children; the first is the root
    std::vector<OpenFile> files;     // ascending by id; ids from 1
    std::vector<Pipe> pipes;
    std::vector<GhostFile> ghosts;  // ascending by id
    std::vector<FileLock> locks;
    std::vector<Terminal> terminals;  // ascending by index
    // The tree has an IPC namespace of its own. A skeleton has its settings and segments.
    std::optional<IpcNamespace> ipc;
    // XXH3 of the vdso's text: a destination whose vdso differs cannot take the tree.
    std::uint64_t vdso_hash = 0;
    // On the same boot the clocks of a tree continue by themselves.
    Clocks clocks;
    std::string boot_id;
    // From which kernel, for messages.
    std::string kernel_release;
    bool operator==(const Checkpoint&) const = default;

    [[nodiscard]] const Process& root() const { return processes.front(); }
    [[nodiscard]] const OpenFile* find_file(FileId id) const {
        for (const OpenFile& file : files) {
            if (file.id == id) return &file;
        }
        return nullptr;
    }
    [[nodiscard]] const Process* find_process(Pid pid) const {
        for (const Process& process : processes) {
            if (process.pid == pid) return &process;
        }
        return nullptr;
    }
    // Some child belongs to the session that its parent had before it started its own: it was
    // forked before, and can only be made again in that order, before anything else is in the tree.
    [[nodiscard]] bool has_early_child() const {
        for (const Process& process : processes) {
            const Process* parent = find_process(process.parent);
            if (parent == nullptr || process.session == process.pid) continue;
            if (process.session != parent->session) return true;
        }
        return false;
    }
    // Ascending by id.
    [[nodiscard]] std::vector<SharedMemory> shared_memory() const;
};

// By a task's, group's or session's id: what it is in another pid namespace.
using Renumbering = std::map<pid_t, pid_t>;
// Every id in the checkpoint; one that is not in the map becomes 0, nobody.
void renumber(Checkpoint& checkpoint, const Renumbering& ids);

}  // namespace ferry::model
