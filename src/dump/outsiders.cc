#include "dump/outsiders.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "proc/ancestry.h"
#include "proc/process_directory.h"
#include "resources/memfd.h"
#include "resources/memory_layout.h"

namespace ferry::dump {
namespace {

std::string describe(const model::SharedMemory& memory) {
    if (memory.file) return fmt::format("the memfd \"{}\"", memory.file->name);
    return fmt::format("process {}: the shared memory at {}", memory.pid, memory.range);
}

// The first of the objects that the process maps, or nullptr.
const model::SharedMemory* find_shared(Pid pid, std::span<const model::SharedMemory> shared) {
    const auto directory = proc::ProcessDirectory::open(pid);
    if (!directory) return nullptr;
    const auto maps = directory->maps();
    if (!maps) return nullptr;
    for (const proc::MapsEntry& entry : *maps) {
        const auto kind = resources::kind_of(entry);
        const bool is_shared = kind && (*kind == model::VmaKind::AnonShared ||
                                        *kind == model::VmaKind::AnonSharedPrivate);
        if (!is_shared && !resources::is_memfd(entry.path)) continue;
        // Whoever is in our IPC namespace or another one has other segments by the same ids.
        if (is_shared && model::is_segment(resources::shared_id_of(entry))) continue;
        const auto at = std::ranges::lower_bound(shared, entry.inode, {}, &model::SharedMemory::id);
        if (at != shared.end() && at->id == entry.inode) return &*at;
    }
    return nullptr;
}

}  // namespace

Result<> Outsiders::check(const model::Checkpoint& checkpoint) {
    const std::vector<model::SharedMemory> shared = checkpoint.shared_memory();
    if (shared.empty()) return {};
    for (const model::SharedMemory& memory : shared) {
        if (objects_.insert(memory.id).second) seen_.clear();
    }
    std::set<os::ProcessEntry> seen;
    for (const os::ProcessEntry& entry : TRY(os::process_entries())) {
        // We map what we look at (pages/held_pages.h).
        if (entry.pid.value == ::getpid()) continue;
        if (checkpoint.find_process(entry.pid) != nullptr) continue;
        if (!seen_.contains(entry)) {
            const model::SharedMemory* found = find_shared(entry.pid, shared);
            // Forked while we looked, for example; the next look or the freeze finds it in the
            // tree.
            const bool is_of_tree =
                found != nullptr &&
                proc::descends_from(entry.pid, checkpoint.root().pid).value_or(false);
            if (is_of_tree) continue;
            if (found != nullptr) {
                return fail(Error::unsupported(
                    fmt::format("{} is also mapped by process {}, which is outside of the tree",
                                describe(*found), entry.pid)));
            }
        }
        seen.insert(entry);
    }
    seen_ = std::move(seen);
    return {};
}

}  // namespace ferry::dump
