// What is in the tmpfs mounts of a container, or what has changed there, as one archive: a
// changeset as the layers of OCI images are (OCI image specification 1.0, layer.md): a pax tar
// whose names are those in the container, with ".wh.NAME" for what has gone and ".wh..wh..opq" in a
// directory of which nothing else remains. Tar knows no sockets: such a node is an empty file with
// the attribute "ferry.socket".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "files/node.h"

namespace ferry::container {

using EntryKind = files::NodeKind;

// Bytes of a file; around it are holes.
struct Extent {
    std::uint64_t offset = 0;
    std::string bytes;
    bool operator==(const Extent&) const = default;
};

// Its path is the one in the container.
struct TmpfsEntry : files::Node {
    std::vector<Extent> extents;
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
