#include "files/tree_root.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>

#include "files/node.h"

namespace ferry::files {

Result<TreeRoot> TreeRoot::open(const TreePlace& place) {
    TreeRoot root;
    root.path_ = place.path;
    std::string directory = place.path;
    if (!place.is_directory) {
        const SplitPath parts = split(place.path);
        root.only_ = parts.name;
        directory = parts.directory.empty() ? "/" : std::string(parts.directory);
    }
    root.directory_ = TRY(os::open(directory, O_RDONLY | O_DIRECTORY));
    root.device_ = TRY(os::fstat(root.directory_.get())).st_dev;
    return root;
}

Result<TreeRoot::Spot> TreeRoot::locate(const std::string& path) {
    if (only_.empty() && path == kTop) return Spot{.parent = directory_.get(), .name = path};
    if (!stays_inside(path) || (!only_.empty() && path != only_)) {
        return fail(Error::corrupt(fmt::format("\"{}\" is no path in {}", path, path_)));
    }
    const SplitPath parts = split(path);
    const std::string name(parts.name);
    if (parts.directory.empty()) return Spot{.parent = directory_.get(), .name = name};
    if (!cached_ || cached_path_ != parts.directory) {
        cached_ = TRY(os::openat2(
            directory_.get(), std::string(parts.directory), O_RDONLY | O_DIRECTORY,
            RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS));
        cached_path_ = parts.directory;
    }
    return Spot{.parent = cached_.get(), .name = name};
}

}  // namespace ferry::files
