// What this host's network looks like, as far as handover must know it: devices, their addresses,
// routes and neighbours, read over rtnetlink.
//
// Source relied upon: rtnetlink(7), linux/if_link.h, linux/if_addr.h, linux/rtnetlink.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "handover/netlink.h"
#include "handover/network_identity.h"

namespace ferry::handover {

struct Link {
    int index = 0;
    std::string name;
    std::string kind;   // "macvlan", "veth", ...; empty for devices without one (lo, hardware)
    std::string alias;  // ip link set ... alias
    std::uint32_t flags = 0;  // IFF_*
    std::uint32_t mtu = 0;
    std::optional<MacAddress> mac;
    int parent = 0;                 // index of the device that it stands on; 0: none
    bool parent_elsewhere = false;  // the parent is in another network namespace
    int master = 0;                 // index of the bridge or bond that it belongs to; 0: none
    std::uint32_t macvlan_mode = 0;
};

Result<std::vector<Link>> list_links(NetlinkSocket& netlink);
// Absent: no device of that name.
Result<std::optional<Link>> find_link(NetlinkSocket& netlink, const std::string& name);

struct AddressOnLink {
    int index = 0;  // of the device
    InterfaceAddress address;
};
// Both families. Addresses that duplicate address detection has not passed yet are left out.
Result<std::vector<AddressOnLink>> list_addresses(NetlinkSocket& netlink);

// Routes that leave through the device, of every table and both families, without those that the
// kernel makes by itself from the device's addresses. Unsupported: a route with several next hops
// or with an encapsulation.
Result<std::vector<Route>> list_routes(NetlinkSocket& netlink, int index);

// Resolved neighbours of the device.
Result<std::vector<Neighbour>> list_neighbours(NetlinkSocket& netlink, int index);

}  // namespace ferry::handover
