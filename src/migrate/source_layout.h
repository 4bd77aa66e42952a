// What is made at the destination before the freeze: tasks, mappings, shared objects. Whether it
// has changed between two looks at a tree.
#pragma once

#include "model/checkpoint.h"

namespace ferry::migrate {

[[nodiscard]] bool same_layout(const model::Process& a, const model::Process& b);
// Whatever the order of the processes.
[[nodiscard]] bool same_layout(const model::Checkpoint& a, const model::Checkpoint& b);
[[nodiscard]] bool same_processes(const model::Checkpoint& a, const model::Checkpoint& b);

}  // namespace ferry::migrate
