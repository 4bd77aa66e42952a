#include "dump/parent_images.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "os/fd.h"

namespace ferry::dump {

Result<pages::PageSet> ParentPages::find_same(pages::PageRun run,
                                              std::span<const std::byte> bytes) const {
    pages::PageSet same;
    std::vector<std::byte> before(bytes.size());
    const auto& runs = pages_.runs();
    auto at = std::lower_bound(
        runs.begin(), runs.end(), run.start,
        [](const image::PageRun& known, RemoteAddr address) { return known.range.end <= address; });
    for (; at != runs.end() && at->range.start < run.end; ++at) {
        const pages::PageRun both = {std::max(run.start, at->range.start),
                                     std::min(run.end, at->range.end)};
        const std::span<std::byte> part = std::span(before).first(both.size());
        TRY(os::pread_all(pages_.pages_fd(*at), part, at->offset + (both.start - at->range.start)));
        const std::byte* now = bytes.data() + (both.start - run.start);
        for (std::uint64_t offset = 0; offset < both.size(); offset += kPageSize) {
            if (std::memcmp(now + offset, part.data() + offset, kPageSize) != 0) continue;
            same.add({both.start + offset, both.start + offset + kPageSize});
        }
    }
    return same;
}

Result<ParentImages> ParentImages::open(const image::DirectoryStore& store,
                                        const std::string& path) {
    return ParentImages(
        TRY(with_context(os::openat(store.fd(), path, O_RDONLY | O_DIRECTORY), "parent images")));
}

Result<std::optional<ParentPages>> ParentImages::find(image::PagemapId id) const {
    auto pages = image::PagemapReader::open(store_, id);
    if (pages) return ParentPages(std::move(*pages));
    if (pages.error().code() == ENOENT) return std::nullopt;
    return fail(std::move(pages.error()).context("parent images"));
}

Result<> add_pages(const pages::PageSet& here, const pages::PageSet& in_parent,
                   image::PagemapWriter& into) {
    auto own = here.runs().begin();
    auto parents = in_parent.runs().begin();
    while (own != here.runs().end() || parents != in_parent.runs().end()) {
        const bool is_own = parents == in_parent.runs().end() ||
                            (own != here.runs().end() && own->start < parents->start);
        TRY(is_own ? into.add(*own++) : into.add_in_parent(*parents++));
    }
    return {};
}

}  // namespace ferry::dump
