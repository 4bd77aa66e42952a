// Which pages of a running process exist, and which were written since they were last protected.
//
// The order that loses no write, for each round of pre-copy:
//   1. register_range() every private mapping (new ones have appeared; known ones are no work),
//   2. scan(Protect::Yes): each page is protected in the instant in which it is reported as
//   written,
//   3. only then read the content of `written` and send it.
// A write between 2 and 3 is either in what is read or, because the page was protected before the
// read, reported by the next scan; often both. The last scan runs with the process stopped.
//
// What vanishes is found by comparing sets: a page that was sent and is not in `present` any more
// was dropped on the source (madvise, munmap, a new mapping over it) and must be dropped at the
// destination.
//   gone = subtract(sent, present of all mappings); sent = unite(subtract(sent, gone), written)
// or, with changes(): gone = what is not mapped any more, and intersect(sent, absent).
// A page that vanished and came back between two scans is a new page, not protected, hence
// `written`. So is every page of a mapping that was moved (mremap) or is new: it is not registered,
// a protecting scan skips it (it counts as not present), and the scan after its registration
// reports it whole.
//
// Not seen: what a device writes into memory by itself, after the system call that asked for it has
// made the page writable: reads with O_DIRECT, io_uring's and AIO's buffers. A tree that stands
// still is in no such read(2), but one that was under way during an earlier scan may have filled a
// page after it was sent: dump/direct_reads.h finds them.
//
// A defect of the kernel (6.18) to know: madvise(MADV_GUARD_INSTALL) over protected pages of a
// private FILE mapping starts over for as long as the tracking lasts: it wants to see the page
// table entries empty, and dropping a protected file page leaves a marker.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"
#include "os/process.h"
#include "pages/run.h"

namespace ferry::pages {

enum class Protect : bool { No, Yes };

// What a private mapping shows where it has no page of its own: zeros, or a file. For anonymous
// memory the kernel need not look at each page's owner, which makes a scan seven times as fast.
enum class Backing : std::uint8_t { Anonymous, File };

struct Scan {
    // Pages with content of their own, in memory or swapped out. Not among them: pages never
    // touched, pages that map the kernel's zero page (both read as zeros), clean pages of a private
    // file mapping (they are the file's), guard pages.
    PageSet present;
    // The part of `present` that was written since it was last protected, or never was protected.
    PageSet written;
    // MADV_GUARD_INSTALL. They have no content; touching them is SIGSEGV.
    PageSet guards;

    // For ranges behind those scanned so far; also correct, but slower, for others.
    void add(const Scan& other);
};

// What a sender of pages must do since the scan before. A page in neither set is as it was then.
struct Changes {
    PageSet written;  // as Scan::written
    PageSet absent;   // without content of its own; the destination may still have what was there
    PageSet guards;

    void add(const Changes& other);
};

// Tracks one process through one descriptor. Owned by one session, used from one thread at a time
// (but see changes()).
// The destructor closes the descriptor, upon which the kernel ends the tracking and removes all
// protection (I1).
class Tracker {
  public:
    enum class Method {
        WriteProtect,  // UFFD_FEATURE_WP_ASYNC with PAGEMAP_SCAN, Linux 6.7
        SoftDirty,     // CONFIG_MEM_SOFT_DIRTY; see restart()
    };

    // `userfault` was created inside the process (os::kUserfaultFlags) and taken out by
    // pidfd_getfd(2); the process should have closed its own copy. Kind::Gone, Kind::Unsupported.
    static Result<Tracker> start(Pid pid, os::UniqueFd userfault);
    // Where the kernel only has soft-dirty bits. Kind::Unsupported where it does not have them
    // either.
    static Result<Tracker> start_soft_dirty(Pid pid);

    [[nodiscard]] Method method() const { return method_; }
    [[nodiscard]] Pid pid() const { return pid_; }

    // Private mappings, or shared ones for find_unwatched(), one per call; before each scan, for
    // all of them: the kernel may have dropped some meanwhile, and asking for what is registered
    // already is one short call. False: not (all) registered, because it has changed or vanished
    // meanwhile or cannot be protected (MAP_DROPPABLE); no error, later rounds and the last scan
    // see it. Kind::Gone: the process has exited, or replaced its address space by execve(2). A
    // wrong `backing` costs time or bytes, not correctness.
    Result<bool> register_range(AddrRange range, Backing backing);
    Result<> unregister_range(AddrRange range);

    // Ranges of private mappings, ascending. Holes are fine. Protect::No leaves everything as it is
    // and also sees what is not registered (as written): the form for the last scan, with the
    // process stopped. The kernel is asked in chunks, so that the running process never waits long
    // for its own mmap lock. Kind::Gone if the process has exited.
    Result<Scan> scan(AddrRange range, Protect protect);
    Result<Scan> scan(std::span<const AddrRange> ranges, Protect protect);

    // The same looking, for the rounds of pre-copy: says what changed, not what is there. Mapped
    // parts only: what is not mapped any more is in neither set.
    // With Protect::No several threads may look at once: it changes nothing.
    Result<Changes> changes(std::span<const AddrRange> ranges, Protect protect) const;

    // Guard pages in mappings of any kind, which changes() of private ones says as well. Changes
    // nothing. Kind::Gone if the process has exited.
    [[nodiscard]] Result<PageSet> guards(std::span<const AddrRange> ranges) const;

    // Of shared mappings: pages that this process may have written since watch() had them. All but
    // those that carry a mark: what was written and then lost its entry in the page table
    // (MADV_DONTNEED, reclaim, munmap and a new mapping) has none. With Method::SoftDirty: all.
    // Changes nothing. Kind::Gone if the process has exited.
    [[nodiscard]] Result<PageSet> find_unwatched(std::span<const AddrRange> ranges) const;
    // Marks them, whether the process has touched them or not (which takes page tables: 1/512 of
    // their size). What is not registered stays unwatched.
    Result<> watch(const PageSet& pages);

    // Soft-dirty bits of a process can only be cleared all together, and a write between the scan
    // and the clearing would be lost. So with Method::SoftDirty the process must be stopped from
    // the scan until restart(), which clears them, and Protect::Yes is the same as No. Nothing with
    // WriteProtect.
    Result<> restart();

  private:
    Tracker(Pid pid, Method method, os::PidFd process, os::UniqueFd userfault)
        : pid_(pid),
          method_(method),
          process_(std::move(process)),
          userfault_(std::move(userfault)) {}
    Result<> fail_if_exited() const;
    // Calls visit(pagemap's calls, range, backing) for the parts of the ranges, in order.
    template <class Visit>
    Result<> walk(std::span<const AddrRange> ranges, Visit visit) const;

    Pid pid_;
    Method method_;
    os::PidFd process_;
    os::UniqueFd userfault_;  // empty with SoftDirty
    PageSet file_backed_;     // of what was registered last
};

}  // namespace ferry::pages
