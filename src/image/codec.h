// model::Checkpoint to and from image files in CRIU's format, version 1.1 (docs/format/image.md).
// The field numbers and types are wire facts of CRIU 4.2; files that CRIU 4.x wrote are read, and
// CRIU 4.2 restores what is written here. What CRIU has no field for is in ferry.json, which CRIU
// ignores; its values are empty after reading a dump that CRIU wrote.
#pragma once

#include "base/error.h"
#include "image/store.h"
#include "model/checkpoint.h"

namespace ferry::image {

// Writes every metadata file (not pagemap-*, pages-*, stats-*). Deterministic: equal checkpoints
// give equal bytes. Invalid: the checkpoint breaks an invariant of its own (an id that does not
// resolve).
Result<> encode(const model::Checkpoint& checkpoint, ImageStore& into);

// Of a pre-dump, which has pages and nothing else: what says that it is a dump.
Result<> encode_inventory(const model::Checkpoint& checkpoint, ImageStore& into);

// Reads and checks everything (I3): on success all ids resolve, ranges are ordered and aligned, and
// the first process is the root. Corrupt: bytes that make no sense. Limit: more than base/limits.h
// allows. Unsupported: a valid image of something that Ferry does not carry, named in the message.
Result<model::Checkpoint> decode(const ImageStore& from);

}  // namespace ferry::image
