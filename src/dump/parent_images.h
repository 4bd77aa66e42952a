// The dump before this one, which may have had most of the pages already (pre-dumps). Pages are
// compared, not tracked: what tracking Linux offers ends with the process that asked for it, or is
// compiled into few kernels (CONFIG_MEM_SOFT_DIRTY).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>

#include "base/error.h"
#include "image/page_files.h"
#include "image/store.h"
#include "pages/run.h"

namespace ferry::dump {

// The pages of one process, or of one shared memory, as they were. Several threads may ask at once.
class ParentPages {
  public:
    explicit ParentPages(image::PagemapReader pages) : pages_(std::move(pages)) {}

    // Which pages of `run`, whose content is `bytes` now, are the same.
    [[nodiscard]] Result<pages::PageSet> find_same(pages::PageRun run,
                                                   std::span<const std::byte> bytes) const;

  private:
    image::PagemapReader pages_;
};

class ParentImages {
  public:
    // `path` is counted from the store's directory. System(ENOENT), ...: there is none.
    static Result<ParentImages> open(const image::DirectoryStore& store, const std::string& path);

    // nullopt: it had none of these.
    [[nodiscard]] Result<std::optional<ParentPages>> find(image::PagemapId id) const;

  private:
    explicit ParentImages(os::UniqueFd directory) : store_(std::move(directory)) {}
    image::DirectoryStore store_;
};

// What of a set of pages lies in this dump and what in its parent, into the pagemap.
Result<> add_pages(const pages::PageSet& here, const pages::PageSet& in_parent,
                   image::PagemapWriter& into);

}  // namespace ferry::dump
