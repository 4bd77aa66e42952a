// The network addresses that a tree's sockets use, before the freeze: which identity has to move.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "handover/ip_address.h"

namespace ferry::migrate {

// The local addresses of the tree's TCP and UDP sockets, each once; wildcards and loopback left
// out. From /proc/PID/net/{tcp,tcp6,udp,udp6}, whose form proc_pid_net(5) gives, and the socket
// inodes of /proc/PID/fd.
Result<std::vector<handover::IpAddress>> local_addresses(std::span<const Pid> pids);

// One such table: the local addresses of the sockets whose inode is in `inodes` (ascending).
// Exposed for tests. Lines that cannot be read are Corrupt.
Result<std::vector<handover::IpAddress>> addresses_in_table(std::string_view table,
                                                            std::span<const std::uint64_t> inodes);

}  // namespace ferry::migrate
