// Netlink and packet sockets to and from their records. Private to image/.
#pragma once

#include "base/error.h"
#include "image/proto/ferry.pb.h"
#include "image/proto/files.pb.h"
#include "model/files.h"

namespace ferry::image {

// extra gets what the format has no field for.
void netlink_to_wire(const model::NetlinkSocket& socket, wire::NetlinkSk& into,
                     wire::FerrySocket& extra);
Result<model::NetlinkSocket> netlink_from_wire(const wire::NetlinkSk& from,
                                               const wire::FerrySocket& extra);

void packet_to_wire(const model::PacketSocket& socket, wire::PacketSk& into,
                    wire::FerrySocket& extra);
Result<model::PacketSocket> packet_from_wire(const wire::PacketSk& from,
                                             const wire::FerrySocket& extra);

}  // namespace ferry::image
