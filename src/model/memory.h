// The address space of a process, as a value: what is mapped where, not the pages' content.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/types.h"

namespace ferry::model {

// Identifies one open file description within a Checkpoint (Checkpoint::files, OpenFile::id). 0:
// none.
using FileId = std::uint32_t;

enum class VmaKind : std::uint8_t {
    Anonymous,          // private, no file: heap, stacks, malloc arenas
    FilePrivate,        // MAP_PRIVATE of a file; pages written to are anonymous and carried
    FileShared,         // MAP_SHARED of a regular file or a memfd; content lives there
    AnonShared,         // MAP_SHARED|MAP_ANONYMOUS, or a System V segment; carried once per object
    AnonSharedPrivate,  // MAP_PRIVATE of such an object, no segment (through /proc/PID/map_files);
                        // pages written to are the process's own, the others show the object
    AioRing,            // the ring of an io_setup(2) context: the kernel's, content in AioRing
    Vdso,               // the kernel's vdso text: moved, not carried
    Vvar,      // [vvar], and from Linux 6.13 on [vvar_vclock] as a second one: moved, not carried
    Vsyscall,  // the fixed vsyscall page: exists in every process
};

// The number of a System V segment as shared memory: no inode number is as large.
inline constexpr std::uint64_t kSegmentIds = std::uint64_t{1} << 63;
[[nodiscard]] constexpr bool is_segment(std::uint64_t shared_id) {
    return (shared_id & kSegmentIds) != 0;
}

struct Vma {
    AddrRange range;
    VmaKind kind = VmaKind::Anonymous;
    std::uint32_t protection = 0;  // PROT_READ | PROT_WRITE | PROT_EXEC
    bool grows_down = false;       // MAP_GROWSDOWN: the main stack
    bool no_reserve = false;       // MAP_NORESERVE
    bool droppable = false;        // Anonymous: MAP_DROPPABLE (Linux 6.11; VmFlags dp)
    bool locked = false;           // mlock(2) (VmFlags lo)
    bool is_heap = false;          // between start_brk and brk, shown as [heap]
    bool is_stack = false;         // shown as [stack]
    std::vector<int> advice;  // MADV_* that hold: DONTFORK, DONTDUMP, HUGEPAGE, NOHUGEPAGE, ...
    FileId file = 0;          // FilePrivate, FileShared: the file, opened with `file_flags`
    std::uint64_t file_offset = 0;  // bytes
    std::uint64_t shared_id = 0;  // AnonShared, AnonSharedPrivate: the same wherever the object is
    bool attached_for_reading = false;  // of a System V segment: SHM_RDONLY (shmat(2))
    std::string name;                   // PR_SET_VMA_ANON_NAME, without "[anon:" and "]"

    bool operator==(const Vma&) const = default;
    // Shows an object where it has no page of its own.
    [[nodiscard]] bool is_private_of_object() const {
        return kind == VmaKind::FilePrivate || kind == VmaKind::AnonSharedPrivate;
    }
    // May hold pages that only this process has, so that they must be carried. What may be dropped
    // at any time may as well be dropped on the way.
    [[nodiscard]] bool carries_private_pages() const {
        return (kind == VmaKind::Anonymous && !droppable) || is_private_of_object();
    }
    // MADV_GUARD_INSTALL is for these (Linux 6.15; before only for Anonymous).
    [[nodiscard]] bool may_have_guards() const {
        return carries_private_pages() || kind == VmaKind::Anonymous ||
               kind == VmaKind::FileShared || kind == VmaKind::AnonShared;
    }
    // Shows the object `shared_id`.
    [[nodiscard]] bool maps_anonymous_object() const {
        return kind == VmaKind::AnonShared || kind == VmaKind::AnonSharedPrivate;
    }
};

// How many requests to ask of io_setup(2) for a ring of so many bytes. The kernel doubles them and
// adds two, and then fills the last page up.
[[nodiscard]] constexpr std::uint32_t aio_requests(std::uint64_t ring_bytes) {
    constexpr std::uint64_t kHeaderBytes = 32, kEventBytes = 32;
    return static_cast<std::uint32_t>(((ring_bytes - kHeaderBytes) / kEventBytes - 2) / 2);
}

// prctl(PR_SET_MM_MAP)'s fields; addresses are not page-aligned.
struct MmLayout {
    std::uint64_t start_code = 0, end_code = 0, start_data = 0, end_data = 0;
    std::uint64_t start_brk = 0, brk = 0, start_stack = 0;
    std::uint64_t arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;
    std::vector<std::uint64_t> auxv;  // pairs, with the closing AT_NULL pair
    bool operator==(const MmLayout&) const = default;
};

struct AddressSpace {
    std::vector<Vma> vmas;  // ascending, not overlapping
    // MADV_GUARD_INSTALL (Linux 6.13), in mappings of any kind; ascending, not overlapping. Known
    // in the freeze only, when the last pages are looked for.
    std::vector<AddrRange> guards = {};
    MmLayout layout;
    FileId exe_file = 0;
    int dumpable = 1;  // prctl(PR_GET_DUMPABLE)
    bool thp_disabled = false;
    bool operator==(const AddressSpace&) const = default;
};

}  // namespace ferry::model
