// The clocks of a tree that comes from another boot go on where they were: it lives in a time
// namespace of its own (docs/decisions/0038).
#pragma once

#include <chrono>
#include <optional>

#include "base/error.h"
#include "model/checkpoint.h"
#include "restore/stub.h"

namespace ferry::restore {

// What the tree's time namespace must add to this kernel's clocks; nothing: it needs none, ours is
// right. `before` are our clocks before the tree saw what its checkpoint says (`seen`), but not
// much: its clocks must not go back, and are ahead by as much. Nothing: the clocks stood still with
// the tree, but on the same boot.
Result<std::optional<model::ClockOffsets>> offsets_for(
    const model::Checkpoint& tree, const std::optional<model::ClockTimes>& before);

// Makes the time namespace and puts the root stub into it, before anybody is forked from it: it has
// one thread and may do so by its user namespace. Unsupported: the kernel has no time namespaces,
// or the stub must not make one; it is where it was.
Result<> enter_time_namespace(StubProcess& root, const model::ClockOffsets& offsets);

// Waits until the clocks that `offsets` makes have reached what the tree saw when it was frozen,
// which is where hosts' clocks do not go at the same pace. Limit: it would take too long.
Result<> await_clocks(const model::Checkpoint& frozen, const model::ClockOffsets& offsets);

}  // namespace ferry::restore
