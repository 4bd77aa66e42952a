// What lives in an IPC namespace (ipc_namespaces(7)) whoever has it open: System V shared memory,
// semaphores and message queues, POSIX message queues.
#pragma once

#include "base/error.h"
#include "base/types.h"

namespace ferry::resources {

// The namespace that a process is in, all of whose members are the tree. Unsupported, by name: an
// object that would be lost.
Result<> check_ipc_namespace(Pid member);

}  // namespace ferry::resources
