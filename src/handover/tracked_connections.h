// The connections that the kernel tracks in a network namespace. Internal to packet_filter.h.
#pragma once

#include <vector>

#include "base/error.h"
#include "handover/netlink.h"
#include "handover/packet_filter.h"

namespace ferry::handover {

Result<std::vector<FilterObject>> read_connections(NetlinkSocket& netlink);
Result<> make_connections(NetlinkSocket& netlink, const std::vector<FilterObject>& connections);

}  // namespace ferry::handover
