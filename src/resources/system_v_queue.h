// System V message queues of the calling thread's IPC namespace.
#pragma once

#include <span>
#include <vector>

#include "base/error.h"
#include "model/ipc.h"

namespace ferry::resources {

// Takes nothing out of them. Whoever uses them must stand still. Limit: more than is carried.
Result<std::vector<model::SystemVQueue>> read_queues();
// In a namespace that has none. Everybody may use them until settle_queues(). Needs
// CAP_CHECKPOINT_RESTORE (Linux 5.9).
Result<> make_queues(std::span<const model::SystemVQueue> queues);
Result<> settle_queues(std::span<const model::SystemVQueue> queues);

}  // namespace ferry::resources
