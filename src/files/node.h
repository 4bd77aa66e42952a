// A node of a file system: what it is and how it is made anew somewhere else, but for the content
// of files. Everything goes by a name in an open directory, and no link is followed.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "os/file_tree.h"

namespace ferry::files {

// Wire numbers (docs/format/files.md).
enum class NodeKind : std::uint8_t {
    File,
    HardLink,  // another name of a file that is there already
    Directory,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Fifo,
    Socket,
};

struct Node {
    std::string path;  // in its tree, without a leading slash: "var/lib/a"
    NodeKind kind = NodeKind::File;
    mode_t mode = 0;  // permissions, set-user-id and the like
    uid_t user = 0;
    gid_t group = 0;
    timespec accessed = {}, modified = {};
    dev_t device = 0;        // of a device node
    std::string target;      // of a symbolic link; the path of the file of a hard link
    std::uint64_t size = 0;  // of a file
    os::ExtendedAttributes attributes;
};

// Nullopt: a type that is not known here.
std::optional<NodeKind> kind_of(mode_t mode);

// The name is gone, or something else has it.
bool has_vanished(const Error& error);

// Not empty, relative, without "." and "..", so that it stays below where it is looked up.
bool stays_inside(std::string_view path);

// Its directory ("" at the top) and its name in there.
struct SplitPath {
    std::string_view directory, name;
};
SplitPath split(std::string_view path);

// Everything but the content of a file and hard links. Unsupported: the type, by `path`.
Result<Node> read_node(int parent, const std::string& name, const std::string& path,
                       const struct stat& status);

bool same_time(const timespec& a, const timespec& b);

// Nullopt: there is no such name.
Result<std::optional<struct stat>> look(int parent, const std::string& name);

// What is mounted on a directory is on another device.
enum class DeviceCheck {
    Everything,
    Directories,  // an overlay shows the files of its layers on devices of their own
};
// With all that is in it. Corrupt: something is mounted on it or below it.
Result<> remove_node(int parent, const std::string& name, dev_t device, DeviceCheck check);

// May become `node` by a change of its attributes and, for files, of its content.
Result<bool> is_same_node(int parent, const std::string& name, const struct stat& there,
                          const Node& node);

// Makes what is not there: not a file or a hard link, and nothing is in a directory.
Result<> make_node(int parent, const std::string& name, const Node& node);

// Owner, extended attributes, permissions, times. What is as it should be is not touched, so that
// an overlay does not copy it; the time of the last access is nothing of that kind.
Result<> set_attributes(int parent, const std::string& name, const Node& node);

}  // namespace ferry::files
