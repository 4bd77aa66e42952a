// netlink(7) sockets: the port, the multicast groups, the options. Answers and messages that were
// not read are waited for: they are the service's to take. Protocols whose kernel side keeps
// something for a port that nobody can see (nfnetlink's queues, for instance) are refused by name.
#pragma once

#include <string>

#include "base/error.h"
#include "model/files.h"
#include "os/fd.h"
#include "resources/descriptions.h"
#include "resources/plain_options.h"
#include "resources/socket_kind.h"

namespace ferry::resources {

struct NetlinkReading {
    model::NetlinkSocket socket;
    std::string busy;  // not empty: unread messages, or an answer of several parts under way
};

// In the network namespace of the socket.
Result<NetlinkReading> read_netlink_socket(int fd, const Holder& holder, const SocketKind& kind,
                                           PlainOptionReader& plain);
// In the network namespace where it is to be. Unsupported: the port is somebody else's there.
Result<os::UniqueFd> open_netlink_socket(const model::NetlinkSocket& socket);

}  // namespace ferry::resources
