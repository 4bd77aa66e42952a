#include "pages/tracker.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <array>
#include <chrono>

#include "os/memory.h"
#include "os/userfault.h"
#include "pages/scan_walk.h"

namespace ferry::pages {
namespace {

// A mapping is born soft-dirty where the kernel knows the bit; elsewhere the bit is never set.
Result<bool> kernel_has_soft_dirty() {
    const os::Mapping probe =
        TRY(os::Mapping::map(kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS));
    probe.data()[0] = std::byte{1};
    const os::Pagemap own = TRY(os::Pagemap::open_own());
    std::array<os::PagemapEntry, 1> entry;
    const auto address = RemoteAddr{reinterpret_cast<std::uintptr_t>(probe.data())};
    return TRY(own.read(address, entry)) == 1 && entry[0].soft_dirty();
}

}  // namespace

void Scan::add(const Scan& other) {
    present.add(other.present);
    written.add(other.written);
    guards.add(other.guards);
}

void Changes::add(const Changes& other) {
    written.add(other.written);
    absent.add(other.absent);
    guards.add(other.guards);
}

Result<Tracker> Tracker::start(Pid pid, os::UniqueFd userfault) {
    os::PidFd process = TRY(os::PidFd::open(pid));
    TRY(os::userfault_enable_async_protection(userfault.get()));
    return Tracker(pid, Method::WriteProtect, std::move(process), std::move(userfault));
}

Result<Tracker> Tracker::start_soft_dirty(Pid pid) {
    if (!TRY(kernel_has_soft_dirty())) {
        return fail(
            Error::unsupported("the kernel has no soft-dirty bits (CONFIG_MEM_SOFT_DIRTY)"));
    }
    os::PidFd process = TRY(os::PidFd::open(pid));
    return Tracker(pid, Method::SoftDirty, std::move(process), {});
}

// Linux (6.18 and before) can take a mapping out of the tracking behind our back, and leave marks
// of protection on its pages that no longer work:
//   1. Two mappings A and B are registered, and B is such that it could be one mapping with A.
//   2. The process moves B next to A (mremap). The kernel joins the two, and because it ends the
//   tracking of
//      what is moved (UFFD_FEATURE_EVENT_REMAP is not used), it does so for all of the joined
//      mapping.
//   3. It cleans the marks of B's pages, not of A's. Writes to A go unnoticed and leave the marks.
//   4. We register A again: its marks say "not written". The writes of 3 would be lost.
// So what is found unregistered is registered, and then every mark there is removed. Marks that are
// removed once more than needed only make pages travel once more than needed.
Result<bool> Tracker::register_range(AddrRange range, Backing backing) {
    if (range.empty()) return false;
    if (backing == Backing::File) {
        file_backed_.add(range);
    } else if (!file_backed_.within(range).empty()) {
        file_backed_.remove(range);
    }
    if (method_ == Method::SoftDirty) return true;
    const os::Pagemap pagemap = TRY(os::Pagemap::open(pid_));
    const ScanCall walk = [&](const os::PagemapScanRequest& request,
                              std::span<os::PageRegion> into) {
        return pagemap.scan(request, into);
    };
    const int userfault = userfault_.get();
    bool registered = true;
    const PageSet fresh = TRY(find_unregistered(walk, range));
    for (const PageRun& run : fresh.runs()) {
        if (!TRY(os::userfault_register_protection(userfault, run))) {
            registered = false;
            continue;
        }
        const PageSet marked = TRY(find_protected(walk, run));
        for (const PageRun& marks : marked.runs()) {
            if (TRY(os::userfault_unprotect(userfault, marks))) continue;
            // A mapping has changed within these microseconds. Unregistering removes the marks of
            // what it finds registered, and the next round starts over with the rest.
            TRY(os::userfault_unregister(userfault, run));
            registered = false;
            break;
        }
    }
    return registered;
}

Result<> Tracker::unregister_range(AddrRange range) {
    if (range.empty() || method_ == Method::SoftDirty) return {};
    return os::userfault_unregister(userfault_.get(), range);
}

Result<Scan> Tracker::scan(AddrRange range, Protect protect) {
    return scan(std::span(&range, 1), protect);
}

namespace {

struct PagemapCalls {
    ScanCall scan;
    EntriesCall entries;
};

}  // namespace

template <class Visit>
Result<> Tracker::walk(std::span<const AddrRange> ranges, Visit visit) const {
    // Opened anew, so that after an execve(2) the last scan sees the new address space, not an
    // empty one.
    const os::Pagemap pagemap = TRY(os::Pagemap::open(pid_));
    const PagemapCalls calls = {
        .scan = [&](const os::PagemapScanRequest& request,
                    std::span<os::PageRegion> into) { return pagemap.scan(request, into); },
        .entries = [&](RemoteAddr start,
                       std::span<os::PagemapEntry> into) { return pagemap.read(start, into); }};
    for (const AddrRange& range : ranges) {
        // The parts of the range with a file behind them, and what lies between them.
        const PageSet file_backed = file_backed_.within(range);
        RemoteAddr at = range.start;
        for (const PageRun& file : file_backed.runs()) {
            TRY(visit(calls, {at, file.start}, Backing::Anonymous));
            TRY(visit(calls, file, Backing::File));
            at = file.end;
        }
        TRY(visit(calls, {at, range.end}, Backing::Anonymous));
    }
    // The page tables of a process that has exited are empty, which must not pass for "all is
    // gone"; and while it has not, its pid meant it all the time.
    return fail_if_exited();
}

Result<Scan> Tracker::scan(std::span<const AddrRange> ranges, Protect protect) {
    Scan result;
    TRY(walk(ranges, [&](const PagemapCalls& calls, AddrRange range, Backing backing) {
        return method_ == Method::SoftDirty
                   ? scan_soft_dirty(calls.entries, range, result)
                   : scan_protected(calls.scan, calls.entries, range, backing, protect, result);
    }));
    return result;
}

Result<Changes> Tracker::changes(std::span<const AddrRange> ranges, Protect protect) const {
    Changes result;
    TRY(walk(ranges, [&](const PagemapCalls& calls, AddrRange range, Backing backing) -> Result<> {
        if (method_ == Method::WriteProtect) {
            return find_changes(calls.scan, calls.entries, range, backing, protect, result);
        }
        Scan whole;
        TRY(scan_soft_dirty(calls.entries, range, whole));
        const PageSet absent = range.empty() ? PageSet{} : subtract({range}, whole.present);
        result.add({.written = std::move(whole.written),
                    .absent = absent,
                    .guards = std::move(whole.guards)});
        return {};
    }));
    return result;
}

Result<PageSet> Tracker::guards(std::span<const AddrRange> ranges) const {
    PageSet found;
    TRY(walk(ranges, [&](const PagemapCalls& calls, AddrRange range, Backing) -> Result<> {
        if (range.empty()) return {};
        return find_guards(calls.scan, calls.entries, range, found);
    }));
    return found;
}

Result<PageSet> Tracker::find_unwatched(std::span<const AddrRange> ranges) const {
    PageSet unwatched;
    for (const AddrRange& range : ranges) unwatched.add(range);
    if (method_ == Method::SoftDirty) return unwatched;
    const os::Pagemap pagemap = TRY(os::Pagemap::open(pid_));
    const ScanCall walk = [&](const os::PagemapScanRequest& request,
                              std::span<os::PageRegion> into) {
        return pagemap.scan(request, into);
    };
    PageSet watched;
    for (const AddrRange& range : ranges) watched.add(TRY(find_watched(walk, range)));
    TRY(fail_if_exited());
    return subtract(unwatched, watched);
}

Result<> Tracker::watch(const PageSet& pages) {
    if (method_ == Method::SoftDirty) return {};
    for (const PageRun& run : pages.runs()) {
        static_cast<void>(TRY(os::userfault_protect(userfault_.get(), run)));
    }
    return {};
}

Result<> Tracker::restart() {
    if (method_ == Method::WriteProtect) return {};
    // "4": clear the soft-dirty bits of all pages (proc_pid_clear_refs(5)).
    return os::write_file(os::kCwd, fmt::format("/proc/{}/clear_refs", pid_), "4");
}

Result<> Tracker::fail_if_exited() const {
    if (TRY(process_.wait_exit(std::chrono::milliseconds(0)))) {
        return fail(Error::gone(fmt::format("process {} has exited", pid_)));
    }
    return {};
}

}  // namespace ferry::pages
