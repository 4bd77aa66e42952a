// What is in the tmpfs mounts of a container, or what has changed there, as one archive: a
// changeset as the layers of OCI images are (OCI image specification 1.0, layer.md): a pax tar
// whose names are those in the container, with ".wh.NAME" for what has gone and ".wh..wh..opq" in a
// directory of which nothing else remains. Tar knows no sockets: such a node is an empty file with
// the attribute "ferry.socket".
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "os/file_tree.h"

namespace ferry::container {

enum class EntryKind : std::uint8_t {
    File,
    HardLink,  // another name of a file that is there already
    Directory,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Fifo,
    Socket,
};

// Bytes of a file; around it are holes.
struct Extent {
    std::uint64_t offset = 0;
    std::string bytes;
    bool operator==(const Extent&) const = default;
};

struct TmpfsEntry {
    std::string path;  // in the container, without a leading slash: "dev/shm/a"
    EntryKind kind = EntryKind::File;
    mode_t mode = 0;  // permissions, set-user-id and the like
    uid_t user = 0;
    gid_t group = 0;
    timespec accessed = {}, modified = {};
    dev_t device = 0;        // of a device node
    std::string target;      // of a symbolic link; the path of the file of a hard link
    std::uint64_t size = 0;  // of a file
    std::vector<Extent> extents;
    os::ExtendedAttributes attributes;
};

struct TmpfsChange {
    std::vector<std::string> cleared;  // directories of which remains what is in `entries`
    std::vector<std::string> removed;  // paths
    std::vector<TmpfsEntry> entries;   // a directory before what is in it
};

Result<std::string> encode_tmpfs(const TmpfsChange& change);
// Corrupt: no such archive, names that lead out of the container; Limit.
Result<TmpfsChange> decode_tmpfs(std::string_view archive);

}  // namespace ferry::container
