// Multicast groups that a socket has joined. They are not carried: which device is meant at the
// destination, and what its network there sends, only the service knows.
#pragma once

#include "base/error.h"
#include "resources/descriptions.h"

namespace ferry::resources {

// Refused by name: a socket of the caller's network namespace that is a member of a group. No
// interface lists a socket's groups, so those of all devices are asked for (/proc/net/igmp).
Result<> check_memberships(int fd, int family, const Holder& holder);

}  // namespace ferry::resources
