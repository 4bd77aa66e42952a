#include "pages/shared_with_parent.h"

#include <algorithm>
#include <array>

namespace ferry::pages {
namespace {

// 32 KiB of entries for each of the two, of 16 MiB of address space: stays in the first-level
// cache's neighbourhood, and the two snapshots of a page are some microseconds apart.
constexpr std::size_t kEntriesPerRead = 4096;

// A private page that both have: the same frame. A frame that is mapped only once cannot be shared.
bool is_shared(os::PagemapEntry child, os::PagemapEntry parent) {
    return child.present() && !child.file() && !child.exclusive() && child.frame() != 0 &&
           parent.present() && !parent.file() && parent.frame() == child.frame();
}

}  // namespace

Result<PageSet> shared_with_parent(const os::Pagemap& child, const os::Pagemap& parent,
                                   const PageSet& candidates) {
    std::array<os::PagemapEntry, kEntriesPerRead> of_child;
    std::array<os::PagemapEntry, kEntriesPerRead> of_parent;
    PageSet shared;
    for (const PageRun& run : candidates.runs()) {
        RemoteAddr at = run.start;
        while (at < run.end) {
            const std::size_t want =
                std::min<std::uint64_t>(kEntriesPerRead, PageRun{at, run.end}.pages());
            const std::size_t n = TRY(child.read(at, std::span(of_child).first(want)));
            const std::size_t m = TRY(parent.read(at, std::span(of_parent).first(n)));
            for (std::size_t i = 0; i < m; ++i) {
                if (!is_shared(of_child[i], of_parent[i])) continue;
                const RemoteAddr page = at + i * kPageSize;
                shared.add({page, page + kPageSize});
            }
            if (m == 0) break;
            at = at + m * kPageSize;
        }
    }
    return shared;
}

Result<PageSet> shared_with_parent(Pid child, Pid parent, const PageSet& candidates) {
    const os::Pagemap of_child = TRY(os::Pagemap::open(child));
    const os::Pagemap of_parent = TRY(os::Pagemap::open(parent));
    return shared_with_parent(of_child, of_parent, candidates);
}

}  // namespace ferry::pages
