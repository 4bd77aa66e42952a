// The address space of one process, collected from /proc/PID/maps, smaps, stat and auxv. Works on a
// running process. Repeated looks are cheap: only what changed in the text of maps is read again.
// smaps, which walks page tables (time in proportion to memory), is read once in the beginning and
// later only when a mapping appears that has nothing in common with a known one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "model/memory.h"
#include "proc/process_directory.h"
#include "resources/files.h"

namespace ferry::resources {

// One mapping, with what only smaps tells.
struct KnownMapping {
    proc::MapsEntry entry;
    std::vector<int> advice;
    bool grows_down = false, no_reserve = false, locked = false, may_write = false;
    bool droppable = false;
};

// Of one process, over its life until execve(2).
class MemoryLayout {
  public:
    // directory must outlive this object. System V segments are refused unless the caller sees to
    // the IPC namespace that they are in.
    MemoryLayout(Pid pid, const proc::ProcessDirectory& directory, bool with_segments = false)
        : pid_(pid), directory_(&directory), with_segments_(with_segments) {}

    // Looks again. True if a mapping changed. Unsupported: a kind of mapping that is not carried,
    // by name.
    Result<bool> refresh();
    // Reads what the next refresh() looks at, in any thread. An error is left for that.
    void read_ahead();
    // The mappings of the last refresh(), with their files registered in `files`, and the layout.
    // layout.brk is the end of [heap], page-aligned: the exact value is asked of the process
    // (process_state.h). `thp_disabled` and `dumpable` are not filled in.
    Result<model::AddressSpace> address_space(FileCollector& files) const;
    // The mapping around an address, as of the last refresh(); empty if there is none.
    [[nodiscard]] AddrRange mapping_at(RemoteAddr address) const;
    // The process was given a userfaultfd by us: its mark on mappings is no reason to refuse.
    void expect_write_protection() { write_protection_is_ours_ = true; }

  private:
    Result<> read_details(std::vector<KnownMapping>& mappings, RemoteAddr last_unknown);

    Pid pid_;
    const proc::ProcessDirectory* directory_;
    std::string text_;                  // of maps, when mappings_ was made from it
    std::optional<std::string> ahead_;  // by read_ahead()
    std::vector<KnownMapping> mappings_;
    std::vector<std::uint64_t> auxv_;
    bool with_segments_ = false;
    bool write_protection_is_ours_ = false;
};

// Parts with no I/O, for tests.
// The mapping among `known` (ascending) that overlaps `entry` and has the same attributes, so that
// flags set by madvise(2) and mlock(2) are the same: the kernel only merges mappings whose flags
// are equal.
[[nodiscard]] const KnownMapping* find_predecessor(const std::vector<KnownMapping>& known,
                                                   const proc::MapsEntry& entry);
// Reads VmFlags; the name of the feature if they show one that is not carried.
[[nodiscard]] std::optional<std::string> apply_flags(const proc::SmapsEntry& from,
                                                     bool write_protection_is_ours,
                                                     KnownMapping& into);
// Vma::shared_id of a mapping that is AnonShared or AnonSharedPrivate.
[[nodiscard]] std::uint64_t shared_id_of(const proc::MapsEntry& entry);
// What the mapping is; the reason if it is not carried.
[[nodiscard]] std::expected<model::VmaKind, std::string> kind_of(const proc::MapsEntry& entry);

}  // namespace ferry::resources
