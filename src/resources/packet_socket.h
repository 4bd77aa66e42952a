// packet(7) sockets. Devices are found by their names at the destination. Packets that were not
// read are lost, as any may be at such a socket at any time.
#pragma once

#include "base/error.h"
#include "model/files.h"
#include "os/fd.h"
#include "resources/descriptions.h"
#include "resources/plain_options.h"
#include "resources/socket_kind.h"

namespace ferry::resources {

// In the network namespace of the socket. Unsupported, naming the holder: rings (PACKET_RX_RING,
// PACKET_TX_RING), fanout groups, SOCK_PACKET, a device that is gone.
Result<model::PacketSocket> read_packet_socket(int fd, const Holder& holder, const SocketKind& kind,
                                               PlainOptionReader& plain);
// In the network namespace where it is to be. Invalid: it has no device of that name.
Result<os::UniqueFd> open_packet_socket(const model::PacketSocket& socket);

}  // namespace ferry::resources
