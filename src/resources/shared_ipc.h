// System V objects (sysvipc(7)) of an IPC namespace that a tree has in common with others, such as
// its host's: they stay where they are.
//
// No table says who uses one. But the kernel notes who used it last, and a thread that waits for
// one stands in the call.
#pragma once

#include <span>

#include "base/error.h"
#include "base/types.h"

namespace ferry::resources {

// Of the calling thread's namespace, while the tree runs. Unsupported, by name: an object that one
// of these processes used last, or waits for. Segments that are attached are not looked at here.
Result<> check_shared_ipc(std::span<const Pid> pids);

}  // namespace ferry::resources
