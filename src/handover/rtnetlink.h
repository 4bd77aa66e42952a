// What this host's network looks like, as far as handover must know it: devices, their addresses,
// routes and neighbours, read over rtnetlink.
//
// Source relied upon: rtnetlink(7), linux/if_link.h, linux/if_addr.h, linux/rtnetlink.h.
#pragma once

#include <linux/if_link.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
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
    // Index of the device that it stands on, or of the other end of a veth pair; 0: none.
    int parent = 0;
    // That one is in another network namespace: the id by which this one knows it.
    std::optional<std::int32_t> parent_space;
    int master = 0;           // index of the bridge or bond that it belongs to; 0: none
    std::string master_kind;  // "bridge", ...
    std::uint32_t macvlan_mode = 0;
    std::uint32_t transmit_queue_length = 0;
    bool has_program = false;  // XDP
    // As a port of a bridge: BR_STATE_*, its settings of one byte, and whether it has others than
    // these.
    std::uint8_t port_state = 0;
    std::vector<std::pair<std::uint16_t, std::uint8_t>> port_settings;
    bool has_odd_port_settings = false;
};

Result<std::vector<Link>> list_links(NetlinkSocket& netlink);
// Absent: no device of that name.
Result<std::optional<Link>> find_link(NetlinkSocket& netlink, const std::string& name);

struct AddressOnLink {
    int index = 0;  // of the device
    InterfaceAddress address;
};
// Both families, without addresses that duplicate address detection has found taken.
Result<std::vector<AddressOnLink>> list_addresses(NetlinkSocket& netlink);

// Routes that leave through the device (0: through none), of every table and both families, without
// those that the kernel makes by itself from the device's addresses. Unsupported: a route with
// several next hops or with an encapsulation.
Result<std::vector<Route>> list_routes(NetlinkSocket& netlink, int index);

// Resolved neighbours of the device, and those that were set by hand.
Result<std::vector<Neighbour>> list_neighbours(NetlinkSocket& netlink, int index);

// What every kind of device has of its identity: name, MAC, MTU, addresses, routes, neighbours.
// `addresses` are those of all devices. Limit: more of them than limits::kIdentityEntriesMax.
Result<NetworkIdentity> read_device(NetlinkSocket& netlink, const Link& link,
                                    const std::vector<AddressOnLink>& addresses);

// The modes of a macvlan that stands on a device together with others.
inline constexpr std::uint32_t kMovableMacvlanModes =
    MACVLAN_MODE_PRIVATE | MACVLAN_MODE_VEPA | MACVLAN_MODE_BRIDGE;

// The id by which the socket's namespace knows another one; absent: it knows it not.
Result<std::optional<std::int32_t>> space_id(NetlinkSocket& netlink, int space_fd);

struct QueueDiscipline {
    int index = 0;  // of the device
    std::string kind;
};
Result<std::vector<QueueDiscipline>> list_queue_disciplines(NetlinkSocket& netlink);

// Whether somebody has told the bridge by hand what is behind its port (`bridge fdb add`).
Result<bool> has_static_forwarding(NetlinkSocket& netlink, int index);

// The VLANs of a port of a bridge; true: none, or only the one that every port has by default.
Result<bool> has_default_vlans(NetlinkSocket& netlink, int index);

}  // namespace ferry::handover
