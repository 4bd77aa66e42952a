// The files of its host that a container lives on: its root file system and what is bound into it
// (docs/decisions/0019). What the kernel makes up (proc, sysfs, devices, sockets) is none of them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "container/config.h"
#include "container/container.h"
#include "files/tree_root.h"
#include "files/watch.h"

namespace ferry::container {

// An overlay (overlayfs.rst) of directories of the host. `upper` gets what is written.
struct Overlay {
    std::vector<std::string> lower;  // the uppermost first
    std::string upper, work;
    bool operator==(const Overlay&) const = default;
};

// Where a file with the log of a container of Podman's has its place: nowhere in the container.
inline constexpr const char* kLogPoint = "log";

struct FileTree {
    files::TreePlace place;  // on both hosts
    std::string point;       // as the container sees it: "/" or "/data"
    bool is_writable = true;
    bool is_hosts = true;            // the host's own; otherwise Podman makes a place for it
    bool is_volume = false;          // of Podman's; known where the container runs
    std::optional<Overlay> overlay;  // that is mounted there
    bool operator==(const FileTree&) const = default;
};

// Unsupported: what is at a place is not what the container has there (any more), cannot be read,
// or has other mounts in it that the container sees.
Result<std::vector<FileTree>> file_trees(const Container& container);

// Those that Podman makes a place for and the container may change.
std::vector<FileTree> own_trees(const std::vector<FileTree>& trees);
// The places of those that stay where the container was when it has gone, for mark_as_left():
// the host's, and volumes of Podman's as far as it does not remove them.
std::vector<files::TreePlace> left_places(const std::vector<FileTree>& trees);

// Where a path of the container lies; nullopt: in none of these.
std::optional<files::TreePath> find_in(const std::vector<FileTree>& trees, std::string_view path);

// As JSON text. Corrupt: the peer sent nonsense, or trees that are not those of the description.
std::string to_json(const std::vector<FileTree>& trees);
Result<std::vector<FileTree>> file_trees_from_json(std::string_view text,
                                                   const Description& description);

// The directories of an overlay from its options in mountinfo. Nullopt: it cannot be made again
// from them.
std::optional<Overlay> parse_overlay(std::string_view options);

}  // namespace ferry::container
