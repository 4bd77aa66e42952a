// The rtnetlink messages that make and remove a macvlan device with everything that belongs to it.
//
// Source relied upon: rtnetlink(7), linux/if_link.h, net/core/rtnetlink.c.
#pragma once

#include <cstdint>
#include <string>

#include "handover/netlink.h"
#include "handover/network_identity.h"

namespace ferry::handover {

// The device, down. `parent` is an interface index.
[[nodiscard]] NetlinkMessages create_macvlan(const NetworkIdentity& identity, int parent);
[[nodiscard]] NetlinkMessages delete_link(const std::string& name);
// IFLA_IFALIAS; an empty text removes it.
[[nodiscard]] NetlinkMessages set_alias(int index, const std::string& alias);
// IN6_ADDR_GEN_MODE_*: how the kernel makes link-local addresses from now on. Unlike the sysctl, it
// makes none at once.
[[nodiscard]] NetlinkMessages set_address_generation(int index, std::uint8_t mode);
[[nodiscard]] NetlinkMessages set_up(int index);
// IPv6 addresses skip duplicate address detection: the source still answers for them.
[[nodiscard]] NetlinkMessages add_address(const InterfaceAddress& address, int index);
[[nodiscard]] NetlinkMessages add_route(const Route& route, int index);
// As stale: used at once, confirmed by the kernel later.
[[nodiscard]] NetlinkMessages add_neighbour(const Neighbour& neighbour, int index);

}  // namespace ferry::handover
