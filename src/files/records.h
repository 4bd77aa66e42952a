// What the source of trees of files says to their destination, as bytes (docs/format/files.md).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/byte_cursor.h"
#include "base/error.h"
#include "files/blocks.h"
#include "files/node.h"

namespace ferry::files {

// Wire numbers: fixed for ever, 0 is never valid.
enum class Step : std::uint8_t {
    Node = 1,    // there is this node, with these attributes; a file keeps its content up to `size`
    Move = 2,    // node.path is called node.target from now on
    Remove = 3,  // with all that is in it
    Data = 4,    // bytes of a file from `offset`
    Hole = 5,    // `length` zeros of a file from `offset`
    Only = 6,    // nothing is in the tree but what there was a Node for
};

struct Record {
    Step step = Step::Node;
    std::uint32_t tree = 0;
    Node node;                    // but for Node only the path, and the target of Move
    std::uint64_t allocated = 0;  // Node of a file: bytes that it takes on its disk
    std::uint64_t offset = 0, length = 0;
    std::span<const std::byte> bytes = {};
};

void append_record(Bytes& into, const Record& record);
// One after the other; bytes are those of the frame. Corrupt, Limit.
class RecordReader {
  public:
    explicit RecordReader(std::span<const std::byte> frame) : cursor_(frame) {}
    Result<std::optional<Record>> next();

  private:
    Cursor cursor_;
};

// The answer to offered Nodes: a file whose content the destination does not have. What it has
// instead: digests by block; empty: nothing.
struct Wanted {
    std::uint32_t index = 0;  // of the record in the frame
    Digests digests;
    bool operator==(const Wanted&) const = default;
};
Bytes encode(const std::vector<Wanted>& wanted);
Result<std::vector<Wanted>> decode_wanted(std::span<const std::byte> frame);

}  // namespace ferry::files
