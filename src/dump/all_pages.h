// The pages of a whole tree into page files: of its processes and of what they share.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "dump/page_dump.h"
#include "dump/source_tree.h"
#include "image/store.h"
#include "model/checkpoint.h"

namespace ferry::dump {

struct PageFigures {
    // Written, and left in the parent.
    std::uint64_t process_pages = 0, process_pages_in_parent = 0;
    std::uint64_t shared_pages = 0, shared_pages_in_parent = 0;
    std::map<Pid, std::vector<AddrRange>> guards = {};  // AddressSpace::guards of each process
};

// With the ids that the tree itself sees. `parent`: the directory of an earlier dump, counted from
// the store's, that this one refers to; empty: none. Of a tree that runs, processes that end
// meanwhile have no pages. System(ENOENT), ...: there is no such directory.
Result<PageFigures> write_all_pages(const SourceTree& tree, const model::Checkpoint& checkpoint,
                                    Stillness stillness, const std::string& parent,
                                    image::DirectoryStore& store);

}  // namespace ferry::dump
