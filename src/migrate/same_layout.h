// Whether what the destination has been told of a tree still holds.
#pragma once

#include "model/checkpoint.h"

namespace ferry::migrate {

// What is made at the destination before the freeze is the same: nothing has to be sent again. Of
// an address space these are the mappings; the rest is known only in the freeze.
[[nodiscard]] bool same_layout(const model::Process& a, const model::Process& b);
// Whatever the order of the processes.
[[nodiscard]] bool same_layout(const model::Checkpoint& a, const model::Checkpoint& b);
// The same processes, and the same terminals, which are made before them.
[[nodiscard]] bool same_processes(const model::Checkpoint& a, const model::Checkpoint& b);

}  // namespace ferry::migrate
