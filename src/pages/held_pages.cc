#include "pages/held_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <span>

#include "os/pagemap.h"
#include "pages/scan_walk.h"

namespace ferry::pages {
namespace {

// fault_around_bytes, as every kernel has it unless debugfs says otherwise.
constexpr std::uint64_t kBlockBytes = 64 << 10;

// Blocks are aligned as addresses of a mapping that begins at `start`.
PageSet whole_blocks(const PageSet& pages, RemoteAddr start) {
    const std::uint64_t skew = start.value % kBlockBytes;
    PageSet blocks;
    for (const PageRun& run : pages.runs()) {
        const std::uint64_t first = (run.start.value + skew) / kBlockBytes * kBlockBytes;
        const std::uint64_t end =
            (run.end.value + skew + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
        blocks.add({RemoteAddr{std::max(first, skew) - skew}, RemoteAddr{end - skew}});
    }
    return blocks;
}

}  // namespace

Result<PageSet> HeldPages::find_lost(const PageSet& data) const {
    if (!mapping_) return data;
    const os::Pagemap own = TRY(os::Pagemap::open_own());
    const ScanCall walk = [&](const os::PagemapScanRequest& request,
                              std::span<os::PageRegion> into) { return own.scan(request, into); };
    PageSet held;
    const PageSet present = TRY(find_present(walk, {start(), start() + mapping_.size()}));
    for (const PageRun& run : present.runs()) {
        held.add({RemoteAddr{run.start - start()}, RemoteAddr{run.end - start()}});
    }
    return intersect(whole_blocks(subtract(data, held), start()), data);
}

Result<> HeldPages::hold(int fd, std::uint64_t bytes, const PageSet& pages) {
    if (mapping_.size() < bytes) {
        const bool had_one = static_cast<bool>(mapping_);
        mapping_ = TRY(os::Mapping::map(bytes, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd));
        // Its blocks are others than those that were named: all is lost until the next look.
        if (had_one) return {};
    }
    for (const PageRun& run : pages.runs()) {
        if (run.start.value >= mapping_.size()) break;
        const std::uint64_t end = std::min<std::uint64_t>(run.end.value, mapping_.size());
        // What cannot be entered (it was cut off meanwhile) is lost, at the next look as well.
        static_cast<void>(mapping_.populate(run.start.value, end - run.start.value));
    }
    return {};
}

}  // namespace ferry::pages
