// A made-up checkpoint that uses every field: for round trips in tests.
#pragma once

#include "model/checkpoint.h"

namespace ferry::image {

[[nodiscard]] model::Checkpoint sample_checkpoint();

}  // namespace ferry::image
