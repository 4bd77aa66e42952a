// The mark beside a tree of files that is no container's: PATH.ferry-copy. What is in the tree is
// not current, and Ferry may overwrite it (docs/decisions/0019).
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "files/tree_root.h"

namespace ferry::container {

[[nodiscard]] std::string mark_of(const std::string& tree);
// Of a container of this id that is not here yet.
Result<> mark_as_coming(const std::string& tree, const std::string& id);

// When a container has gone: these are copies now, as far as they are still there.
Result<> mark_as_left(const std::vector<files::TreePlace>& places, const std::string& id,
                      const std::string& destination);

}  // namespace ferry::container
