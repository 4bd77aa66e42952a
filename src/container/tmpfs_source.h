// The contents of a container's tmpfs mounts, read from outside while it runs and again when it
// stands still.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "container/container.h"
#include "container/tmpfs_mount.h"

namespace ferry::container {

class TmpfsSource {
  public:
    static Result<TmpfsSource> open(const Container& container);

    // An archive (container/tmpfs_archive.h): the first time everything, then what has changed
    // since the last time, deletions included. Files are compared by content, since what is written
    // through a mapping changes no time. What changes during a call may be missed by it, but not by
    // the next. Limit: limits::kTmpfs...; Unsupported: a name that the archive takes for its own.
    // Reads all the content, each time.
    Result<std::string> collect();

  private:
    struct Known {
        bool is_directory = false;
        std::uint64_t inode = 0;
        std::uint64_t digest[2] = {};  // of everything that is carried
        bool operator==(const Known&) const = default;
    };
    explicit TmpfsSource(std::vector<TmpfsMount> mounts) : mounts_(std::move(mounts)) {}

    std::vector<TmpfsMount> mounts_;
    std::map<std::string, Known> known_;  // by path
    bool first_ = true;

    friend class TmpfsWalk;
};

}  // namespace ferry::container
