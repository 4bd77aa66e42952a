// The rtnetlink messages that make and remove a device with everything that belongs to it.
//
// Source relied upon: rtnetlink(7), linux/if_link.h, net/core/rtnetlink.c.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "handover/netlink.h"
#include "handover/network_identity.h"

namespace ferry::handover {

// The device, down, for a socket of the host's namespace. `parent` is an interface index; `space` a
// descriptor of the network namespace in which it appears, absent: here. There it gets any index:
// the wanted one would be looked for in the host's namespace.
[[nodiscard]] NetlinkMessages create_macvlan(const NetworkIdentity& identity, int parent,
                                             std::optional<int> space);
// The pair, down, for a socket of the namespace in which the device appears; the other end, which
// has an address of its own, appears in the namespace `host`. A name with %d is completed by the
// kernel.
[[nodiscard]] NetlinkMessages create_veth(const NetworkIdentity& identity,
                                          const std::string& host_name, int host);
// Makes a device a port of a bridge, whose index is given.
[[nodiscard]] NetlinkMessages plug_into(int index, int bridge);
[[nodiscard]] NetlinkMessages set_port(int index, const BridgePort& port);
[[nodiscard]] NetlinkMessages delete_link(const std::string& name);
// IFLA_IFALIAS; an empty text removes it.
[[nodiscard]] NetlinkMessages set_alias(int index, const std::string& alias);
// IN6_ADDR_GEN_MODE_*: how the kernel makes link-local addresses from now on. Unlike the sysctl, it
// makes none at once.
[[nodiscard]] NetlinkMessages set_address_generation(int index, std::uint8_t mode);
// IFF_*; those that are not set stay as they are.
[[nodiscard]] NetlinkMessages set_flags(int index, std::uint32_t flags);
// IPv6 addresses skip duplicate address detection: the source still answers for them.
[[nodiscard]] NetlinkMessages add_address(const InterfaceAddress& address, int index);
// index 0: a route through no device.
[[nodiscard]] NetlinkMessages add_route(const Route& route, int index);
// Unless permanent as stale: used at once, confirmed by the kernel later.
[[nodiscard]] NetlinkMessages add_neighbour(const Neighbour& neighbour, int index);

}  // namespace ferry::handover
