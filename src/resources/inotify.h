// inotify(7) descriptors. fdinfo shows which inodes are watched; a watch is carried as the path of
// its file, which is watched again where the tree is restored, under the same number. Events that
// wait to be read are waited for: the service soon takes them. What Ferry itself does to the files
// while it restores the tree (opening, closing) may show as events afterwards.
#pragma once

#include <string>

#include "base/error.h"
#include "model/files.h"
#include "os/fd.h"
#include "resources/descriptions.h"

namespace ferry::resources {

// Every watch with its path. `root` is put before paths to look at them (regular_file.h).
// Unsupported, naming the holder: a file without a name, or that its file system does not find.
Result<model::Inotify> read_inotify(const Slot& slot, const std::string& root);
// Events that were not read; `copy` is a duplicate of the descriptor.
Result<bool> has_events(int copy);

// Without events. Paths lead from our root directory.
Result<os::UniqueFd> open_inotify(const model::Inotify& inotify);

}  // namespace ferry::resources
