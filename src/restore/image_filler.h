// The fill of a tree whose pages lie in image files. Generation by generation: a process is forked
// from its parent's stub after the parent's pages are in, so that pages that both have stay shared.
#pragma once

#include <cstdint>
#include <map>

#include "base/error.h"
#include "image/store.h"
#include "model/checkpoint.h"
#include "restore/staged_tree.h"

namespace ferry::restore {

class ImageFiller {
  public:
    // Both outlive it.
    ImageFiller(const model::Checkpoint& checkpoint, const image::DirectoryStore& store);

    // What the tree is created with.
    [[nodiscard]] model::Checkpoint first_generation() const;
    // Everything else: the other processes, all pages. Returns their number. After an error the
    // tree is only good for destruction.
    Result<std::uint64_t> fill(StagedTree& tree) const;

  private:
    const model::Checkpoint& checkpoint_;
    const image::DirectoryStore& store_;
    const std::map<Pid, int> generations_;  // how far each process is from the root
};

// Images that CRIU wrote have the rings of aio contexts (Process::aio_rings) among the pages only:
// puts them into their place. Limit: a ring that no kernel makes.
Result<> take_aio_rings(const image::DirectoryStore& store, model::Checkpoint& checkpoint);

}  // namespace ferry::restore
