#include "pages/scan_walk.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <vector>

#include "base/check.h"

namespace ferry::pages {
namespace {

using os::page_is::kFile;
using os::page_is::kPresent;
using os::page_is::kSwapped;
using os::page_is::kWpAllowed;
using os::page_is::kWritten;
using os::page_is::kZeroFrame;

// The kernel hands regions out in groups of 512 and drops the mmap lock between them.
constexpr std::uint64_t kRegionsPerCall = 4096;
// 512 entries describe one page table, which is what one read of the array walks under the lock.
constexpr std::size_t kEntriesPerRead = 512;

// Calls visit(address, entry) for each page of the range, as far as the address space reaches.
template <class Visit>
Result<> for_each_entry(const EntriesCall& entries, AddrRange range, Visit visit) {
    std::array<os::PagemapEntry, kEntriesPerRead> buffer;
    RemoteAddr at = range.start;
    while (at < range.end) {
        const std::size_t want =
            std::min<std::uint64_t>(buffer.size(), AddrRange{at, range.end}.pages());
        const std::size_t n = TRY(entries(at, std::span(buffer).first(want)));
        if (n == 0) return {};
        for (std::size_t i = 0; i < n; ++i) {
            visit(at, buffer[i]);
            at = at + kPageSize;
        }
    }
    return {};
}

// Calls visit(region) for each region that matches, chunk by chunk.
template <class Visit>
Result<> for_each_region(const ScanCall& scan, os::PagemapScanRequest request, Visit visit) {
    // Small ranges come by the thousand, and a buffer of the full size would cost more than the
    // call.
    std::vector<os::PageRegion> regions(std::min(kRegionsPerCall, request.range.pages()));
    const RemoteAddr end = request.range.end;
    std::uint64_t chunk = kScanChunkBytes;
    while (request.range.start < end) {
        request.range.end = request.range.start + std::min(chunk, end - request.range.start);
        const auto begun = std::chrono::steady_clock::now();
        const os::PagemapScanReply reply = TRY(scan(request, regions));
        const bool quick = std::chrono::steady_clock::now() - begun < kScanQuick;
        chunk = quick ? std::min(chunk * 2, kScanChunkBytesMax) : kScanChunkBytes;
        CHECK(reply.regions <= regions.size());
        CHECK(reply.walked_to > request.range.start);
        for (const os::PageRegion& region : std::span(regions).first(reply.regions)) {
            TRY(visit(region));
        }
        request.range.start = std::min(reply.walked_to, request.range.end);
    }
    return {};
}

Result<PageSet> find_pages(const ScanCall& scan, const os::PagemapScanRequest& request) {
    PageSet found;
    TRY(for_each_region(scan, request, [&](const os::PageRegion& region) -> Result<> {
        found.add({RemoteAddr{region.start}, RemoteAddr{region.end}});
        return {};
    }));
    return found;
}

// The protection bit of a page in a mapping that is not registered says nothing: see
// Tracker::register_range().
bool is_written(const os::PageRegion& region) {
    return (region.categories & kWritten) != 0 || (region.categories & kWpAllowed) == 0;
}

// PAGEMAP_SCAN calls whatever is not in memory "swapped": real swap, pages under migration, but
// also markers, behind which there is no page. Where a private file mapping's protected page was
// dropped (MADV_DONTNEED) the kernel leaves such a marker, and it must not pass for an unchanged
// page.
Result<> add_swapped(const EntriesCall& entries, const os::PageRegion& region, Scan& into) {
    const AddrRange range = {RemoteAddr{region.start}, RemoteAddr{region.end}};
    const bool written = is_written(region);
    return for_each_entry(entries, range, [&](RemoteAddr at, os::PagemapEntry entry) {
        const PageRun page = {at, at + kPageSize};
        if (entry.guard()) {
            into.guards.add(page);
        } else if (!entry.marker() && (entry.swapped() || entry.present())) {
            into.present.add(page);
            if (written) into.written.add(page);
        }
    });
}

Result<> add_region(const EntriesCall& entries, const os::PageRegion& region, Scan& into) {
    if ((region.categories & kPresent) == 0) return add_swapped(entries, region, into);
    if ((region.categories & (kZeroFrame | kFile)) != 0) return {};
    const PageRun run = {RemoteAddr{region.start}, RemoteAddr{region.end}};
    into.present.add(run);
    if (is_written(region)) into.written.add(run);
    return {};
}

Result<> add_change(const EntriesCall& entries, const os::PageRegion& region, Changes& into) {
    const PageRun run = {RemoteAddr{region.start}, RemoteAddr{region.end}};
    if ((region.categories & kPresent) != 0) {
        const bool own = (region.categories & (kZeroFrame | kFile)) == 0;
        (own ? into.written : into.absent).add(run);
        return {};
    }
    if ((region.categories & kSwapped) == 0) {
        into.absent.add(run);
        return {};
    }
    Scan found;
    TRY(add_swapped(entries, region, found));
    into.written.add(found.written);
    into.guards.add(found.guards);
    into.absent.add(subtract({run}, found.present));
    return {};
}

}  // namespace

Result<> find_changes(const ScanCall& scan, const EntriesCall& entries, AddrRange range,
                      Backing backing, Protect protect, Changes& into) {
    const std::uint64_t file = backing == Backing::File ? kFile : 0;
    os::PagemapScanRequest request = {
        .range = range,
        .return_mask = kPresent | kSwapped | kWritten | kZeroFrame | kWpAllowed | file};
    const auto collect = [&](Changes& found) {
        return for_each_region(scan, request, [&](const os::PageRegion& region) {
            return add_change(entries, region, found);
        });
    };
    Changes missing;
    if (protect == Protect::Yes) {
        // In two passes: the kernel marks what it reports, and what is not there must get no mark.
        request.protect_matching = true;
        request.all_of = kWritten;
        request.any_of = kPresent | kSwapped;
        TRY(collect(into));
        request.protect_matching = false;
        request.all_of = 0;
        request.any_of = request.absent = kPresent;
        TRY(collect(missing));
    } else {
        request.any_of = kWritten | kPresent;
        request.absent = kPresent;
        TRY(collect(into));
        // Its marks say nothing (is_written()), and few mappings are new: look at all of it.
        const PageSet unregistered = TRY(find_unregistered(scan, range));
        Scan whole;
        for (const PageRun& run : unregistered.runs()) {
            TRY(scan_protected(scan, entries, run, backing, protect, whole));
        }
        missing.written = whole.present;
    }
    into.add(missing);
    return {};
}

Result<> scan_protected(const ScanCall& scan, const EntriesCall& entries, AddrRange range,
                        Backing backing, Protect protect, Scan& into) {
    // PM_SCAN_CHECK_WPASYNC is not used: on a mapping that appeared after the registration it fails
    // the call, and the pages that the call had protected already would go unreported. Without it
    // such a mapping is skipped, until it has been registered.
    // kFile makes the kernel look at the description of each page, which is a cache miss each.
    const std::uint64_t file = backing == Backing::File ? kFile : 0;
    const os::PagemapScanRequest request = {
        .range = range,
        .protect_matching = protect == Protect::Yes,
        .any_of = kPresent | kSwapped,
        .return_mask = kPresent | kSwapped | kWritten | kZeroFrame | kWpAllowed | file};
    return for_each_region(scan, request, [&](const os::PageRegion& region) {
        return add_region(entries, region, into);
    });
}

Result<PageSet> find_unregistered(const ScanCall& scan, AddrRange range) {
    return find_pages(
        scan,
        {.range = range, .all_of = kWpAllowed, .absent = kWpAllowed, .return_mask = kWpAllowed});
}

Result<PageSet> find_protected(const ScanCall& scan, AddrRange range) {
    return find_pages(scan, {.range = range,
                             .all_of = kWritten,
                             .any_of = kPresent | kSwapped,
                             .absent = kWritten,
                             .return_mask = kWritten});
}

Result<PageSet> find_watched(const ScanCall& scan, AddrRange range) {
    return find_pages(scan, {.range = range,
                             .all_of = kWritten | kWpAllowed,
                             .any_of = kPresent | kSwapped,
                             .absent = kWritten,
                             .return_mask = kWritten});
}

Result<> find_guards(const ScanCall& scan, const EntriesCall& entries, AddrRange range,
                     PageSet& into) {
    Scan found;
    TRY(for_each_region(
        scan, {.range = range, .all_of = kSwapped, .any_of = kSwapped, .return_mask = kSwapped},
        [&](const os::PageRegion& region) { return add_swapped(entries, region, found); }));
    into.add(found.guards);
    return {};
}

Result<PageSet> find_present(const ScanCall& scan, AddrRange range) {
    return find_pages(scan, {.range = range, .any_of = kPresent, .return_mask = kPresent});
}

Result<> scan_soft_dirty(const EntriesCall& entries, AddrRange range, Scan& into) {
    return for_each_entry(entries, range, [&](RemoteAddr at, os::PagemapEntry entry) {
        const PageRun page = {at, at + kPageSize};
        if (entry.guard()) {
            into.guards.add(page);
        } else if ((entry.present() && !entry.file()) || (entry.swapped() && !entry.marker())) {
            into.present.add(page);
            if (entry.soft_dirty()) into.written.add(page);
        }
    });
}

}  // namespace ferry::pages
