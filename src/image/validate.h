// The invariants of a Checkpoint, checked before it is written and after it was read. Private to
// image/.
#pragma once

#include "base/error.h"
#include "model/checkpoint.h"

namespace ferry::image {

// kind: Corrupt for foreign bytes, Invalid for a checkpoint of our own.
Result<> validate(const model::Checkpoint& checkpoint, Error::Kind kind);

}  // namespace ferry::image
