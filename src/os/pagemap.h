// /proc/PID/pagemap: one 64-bit entry for each page (any Linux), and PAGEMAP_SCAN, which walks the
// page tables inside the kernel and can write-protect in the same pass (Linux 6.7). The names
// follow <linux/fs.h> of Linux 6.18 and Documentation/admin-guide/mm/pagemap.rst; Debian 12's
// headers are older and lack them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"

namespace ferry::os {

// One entry of the array, decoded. Page frame numbers need CAP_SYS_ADMIN; without it they read as
// 0.
struct PagemapEntry {
    std::uint64_t raw = 0;
    [[nodiscard]] bool present() const { return (raw >> 63 & 1) != 0; }
    [[nodiscard]] bool swapped() const { return (raw >> 62 & 1) != 0; }
    // A page of a file or of shared anonymous memory, not a private copy.
    [[nodiscard]] bool file() const { return (raw >> 61 & 1) != 0; }
    // Mapped by exactly one process, once.
    [[nodiscard]] bool exclusive() const { return (raw >> 56 & 1) != 0; }
    [[nodiscard]] bool soft_dirty() const { return (raw >> 55 & 1) != 0; }
    [[nodiscard]] std::uint64_t frame() const { return raw & ((std::uint64_t{1} << 55) - 1); }
    // A "PTE marker" (Linux 5.19): counts as swapped, but there is no page; the kernel keeps a note
    // (write-protected by userfaultfd, guard region) where a page was. Its swap type is the
    // highest.
    [[nodiscard]] bool marker() const { return swapped() && (raw & 0x1f) == 0x1f; }
    // The note is MADV_GUARD_INSTALL (Linux 6.13; bit 58 since 6.15).
    [[nodiscard]] bool guard() const {
        return (raw >> 58 & 1) != 0 || (marker() && (raw >> 5 & 4) != 0);
    }
};
static_assert(sizeof(PagemapEntry) == sizeof(std::uint64_t));

// Categories of PAGEMAP_SCAN.
namespace page_is {
inline constexpr std::uint64_t kWpAllowed = 1u << 0;
inline constexpr std::uint64_t kWritten = 1u << 1;
inline constexpr std::uint64_t kFile = 1u << 2;
inline constexpr std::uint64_t kPresent = 1u << 3;
inline constexpr std::uint64_t kSwapped = 1u << 4;
inline constexpr std::uint64_t kZeroFrame = 1u << 5;
inline constexpr std::uint64_t kHuge = 1u << 6;
inline constexpr std::uint64_t kSoftDirty = 1u << 7;
inline constexpr std::uint64_t kGuard = 1u << 8;  // Linux 6.15; older kernels answer EINVAL
}  // namespace page_is

// struct page_region.
struct PageRegion {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::uint64_t categories = 0;
};

struct PagemapScanRequest {
    AddrRange range;
    // Write-protect the matching pages that are kWritten, each in the instant in which it is
    // reported. Mappings that are not registered for asynchronous write-protection are then skipped
    // silently.
    bool protect_matching = false;
    // A page matches if it has all of `all_of`, and one of `any_of` unless that is 0; where a
    // category is in `absent`, not having it counts as having it.
    std::uint64_t all_of = 0;
    std::uint64_t any_of = 0;
    std::uint64_t absent = 0;
    std::uint64_t return_mask = 0;  // the categories to report; equal neighbours are one region
};

struct PagemapScanReply {
    std::size_t regions = 0;  // how many entries of the buffer are filled
    RemoteAddr walked_to;     // before the range's end only when the buffer was full
};

// The descriptor stays with the address space of the moment of open(): after execve(2) or exit it
// describes an empty one. Needs PTRACE_MODE_READ_FSCREDS on the process.
class Pagemap {
  public:
    // Error::Kind::Gone if there is no such process.
    static Result<Pagemap> open(Pid pid);
    static Result<Pagemap> open_own();

    // Entries of the pages from `start` on; fewer than asked where the address space ends or is
    // gone.
    Result<std::size_t> read(RemoteAddr start, std::span<PagemapEntry> into) const;
    // The kernel takes the address space's lock for reading once per call (and per 512 regions), so
    // a caller that must not stall the process's mmap(2) asks for ranges of at most some hundred
    // MiB.
    Result<PagemapScanReply> scan(const PagemapScanRequest& request,
                                  std::span<PageRegion> into) const;

  private:
    explicit Pagemap(UniqueFd fd) : fd_(std::move(fd)) {}
    UniqueFd fd_;
};

}  // namespace ferry::os
