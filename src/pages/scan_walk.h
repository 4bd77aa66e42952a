// The two ways to find present and written pages, apart from the kernel calls that they need, so
// that unit tests can put a made-up address space behind them. Used by Tracker.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/error.h"
#include "base/types.h"
#include "os/pagemap.h"
#include "pages/run.h"
#include "pages/tracker.h"

namespace ferry::pages {

// As os::Pagemap::scan.
using ScanCall = std::function<Result<os::PagemapScanReply>(const os::PagemapScanRequest&,
                                                            std::span<os::PageRegion>)>;
// As os::Pagemap::read.
using EntriesCall = std::function<Result<std::size_t>(RemoteAddr, std::span<os::PagemapEntry>)>;

// How much address space one PAGEMAP_SCAN covers: the kernel holds the process's mmap lock for
// reading about 0.3 ms for 128 MiB of which every page must be protected. Where it is quick, since
// there is hardly a page table, the next one covers twice as much, up to a limit: databases reserve
// terabytes and use some megabytes of them.
inline constexpr std::uint64_t kScanChunkBytes = 128 << 20;
inline constexpr std::uint64_t kScanChunkBytesMax = std::uint64_t{64} << 30;
inline constexpr std::chrono::microseconds kScanQuick{30};

// PAGEMAP_SCAN with write-protection. Appends to `into`, whose ranges so far lie before `range`.
Result<> scan_protected(const ScanCall& scan, const EntriesCall& entries, AddrRange range,
                        Backing backing, Protect protect, Scan& into);

// What Tracker::changes() says of a range. Five times as fast as scan_protected() where little has
// changed: the kernel reports page by page, and here only what differs from a page that is as it
// was. Appends to `into`, whose ranges so far lie before `range`.
Result<> find_changes(const ScanCall& scan, const EntriesCall& entries, AddrRange range,
                      Backing backing, Protect protect, Changes& into);

// The parts of the range that are mapped but not registered; no page table of the rest is walked.
Result<PageSet> find_unregistered(const ScanCall& scan, AddrRange range);
// Pages that carry the mark of protection.
Result<PageSet> find_protected(const ScanCall& scan, AddrRange range);
// Those of them where the mark works: in mappings that are registered.
Result<PageSet> find_watched(const ScanCall& scan, AddrRange range);

// Guard pages, in mappings of any kind. Appends to `into`.
Result<> find_guards(const ScanCall& scan, const EntriesCall& entries, AddrRange range,
                     PageSet& into);

// Pages that have an entry in the page table and are in memory.
Result<PageSet> find_present(const ScanCall& scan, AddrRange range);

// Soft-dirty bits out of the pagemap array.
Result<> scan_soft_dirty(const EntriesCall& entries, AddrRange range, Scan& into);

}  // namespace ferry::pages
