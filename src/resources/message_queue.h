// What waits in the receive queue of a socket that keeps messages apart, read from outside without
// taking anything.
#pragma once

#include <vector>

#include "base/error.h"
#include "model/files.h"
#include "os/fd.h"
#include "os/inet.h"
#include "resources/descriptions.h"

namespace ferry::resources {

struct QueuedMessage {
    os::SocketAddress sender;  // size 0: unnamed
    model::Bytes content;
    std::vector<os::UniqueFd> rights;  // duplicates of the descriptors in flight with it
};

// `fd` is a duplicate of a socket of this type (SOCK_*); `what` says for messages what it is ("a
// unix socket"). Unsupported, naming the holder: too much to carry.
Result<std::vector<QueuedMessage>> peek_queue(int fd, int type, const Holder& holder,
                                              const char* what);

}  // namespace ferry::resources
