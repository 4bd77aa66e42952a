// A tree of files on this host: a directory with all that is in it on the same file system, or a
// single file. Paths in it are resolved without following any link and never lead out of it.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::files {

struct TreePlace {
    std::string path;          // absolute
    bool is_directory = true;  // else a single file
    bool operator==(const TreePlace&) const = default;
};

// The path of a directory in its own tree.
inline constexpr const char* kTop = ".";

class TreeRoot {
  public:
    static Result<TreeRoot> open(const TreePlace& place);

    // An open directory, valid until the next call, and a name in it. Corrupt: the path is none of
    // this tree. System: a directory on the way is missing, or is something else.
    struct Spot {
        int parent = -1;
        std::string name;
    };
    Result<Spot> locate(const std::string& path);
    // To be called when a directory was removed or has moved.
    void forget() { cached_.reset(); }

    [[nodiscard]] int top() const { return directory_.get(); }
    [[nodiscard]] dev_t device() const { return device_; }
    // The only name that belongs to the tree; empty: everything.
    [[nodiscard]] const std::string& only() const { return only_; }
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    std::string path_, only_;
    os::UniqueFd directory_;
    dev_t device_ = 0;
    std::string cached_path_;
    os::UniqueFd cached_;
};

}  // namespace ferry::files
