// Which names in some directories have changed (inotify(7)): a hint for where to look, so that not
// everything has to be looked at. It does not tell of writes through mappings, nor of those by
// aio(7).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::files {

using TreePath = std::pair<std::uint32_t, std::string>;  // the number of a tree, a path in it

class Watch {
  public:
    static Result<Watch> create();

    // Names in this directory from now on. Where the system's limit is reached, take() says that
    // everything has to be looked at.
    void add(int directory, const TreePath& path);
    struct News {
        bool everything = false;   // some were lost
        std::set<TreePath> paths;  // with the directories that they are in
        // Directories among them that have come to their names since: what is in them was not
        // watched, even if they have the inode number of others that were there.
        std::set<TreePath> appeared;
    };
    // Since the last time.
    Result<News> take();

  private:
    explicit Watch(os::UniqueFd fd) : fd_(std::move(fd)) {}
    os::UniqueFd fd_;
    std::map<int, TreePath> directories_;
    bool incomplete_ = false;
};

}  // namespace ferry::files
