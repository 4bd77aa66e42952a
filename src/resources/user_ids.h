// The user and group ids of a tree that lives in a user namespace of its own, from as we see them
// to as it sees them: those that say who a task is. Owners of files, memfds and System V objects
// stay as we see them, like the owners on its disks: the destination's namespace has the same
// mapping.
#pragma once

#include "base/error.h"
#include "model/checkpoint.h"
#include "proc/user_namespace.h"

namespace ferry::resources {

// Unsupported: an id that nobody in the namespace can have. Then nothing is changed.
Result<> number_users_from_inside(model::Credentials& credentials,
                                  const proc::UserNamespace& space);
// Of all threads, of who listens on Unix sockets, and of who has asked for signals of a file.
Result<> number_users_from_inside(model::Checkpoint& checkpoint, const proc::UserNamespace& space);

}  // namespace ferry::resources
