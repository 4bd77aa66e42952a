// The network identity of a service: the macvlan device that carries its addresses, as a value that
// can be carried to another host and made there again, so that peers cannot tell the hosts apart.
//
// Only a device of its own can move: its MAC goes with it, so no neighbour cache in the network has
// to be right about two hosts at once. An address on any other device (the uplink itself, a bridge,
// a tunnel) is refused by name before anything is frozen.
//
// Source relied upon: rtnetlink(7), linux/if_link.h, Documentation/networking/ip-sysctl.rst.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "handover/ip_address.h"

namespace ferry::handover {

using MacAddress = std::array<std::uint8_t, 6>;
[[nodiscard]] std::string to_string(const MacAddress& mac);

struct InterfaceAddress {
    IpAddress address;
    std::uint8_t prefix_length = 32;
    std::uint8_t scope = 0;   // RT_SCOPE_*
    std::uint32_t flags = 0;  // IFA_F_*; only those that a creator may set
    std::optional<IpAddress> broadcast;
    std::optional<IpAddress> peer;
    // Seconds; 0xffffffff means for ever.
    std::uint32_t valid_lifetime = 0xffffffff, preferred_lifetime = 0xffffffff;
    bool operator==(const InterfaceAddress&) const = default;
};

struct Route {
    int family = AF_INET;
    std::optional<IpAddress> destination;  // none: the default route
    std::uint8_t prefix_length = 0;
    std::uint8_t tos = 0, protocol = 0, scope = 0, type = 0;  // RTPROT_*, RT_SCOPE_*, RTN_*
    std::uint32_t flags = 0;                                  // RTNH_F_ONLINK at most
    std::uint32_t table = 254;
    std::optional<std::uint32_t> priority;
    std::optional<IpAddress> gateway, preferred_source;
    std::vector<std::pair<std::uint16_t, std::uint32_t>> metrics;  // RTAX_*, value
    bool operator==(const Route&) const = default;
};

// A resolved neighbour: saves the service one address resolution towards each client after the
// move.
struct Neighbour {
    IpAddress address;
    MacAddress mac{};
    bool operator==(const Neighbour&) const = default;
};

// A per-device setting under /proc/sys/net: key is "ipv4/rp_filter" for
// net/ipv4/conf/NAME/rp_filter.
struct DeviceSetting {
    std::string key, value;
    bool operator==(const DeviceSetting&) const = default;
};

struct NetworkIdentity {
    std::string name;                // of the device
    std::string parent;              // name of the device it stands on, at the source
    std::uint32_t macvlan_mode = 0;  // MACVLAN_MODE_* (one bit)
    MacAddress mac{};
    std::uint32_t mtu = 1500;
    std::vector<InterfaceAddress> addresses;
    std::vector<Route> routes;
    std::vector<Neighbour> neighbours;
    std::vector<DeviceSetting> settings;
    bool operator==(const NetworkIdentity&) const = default;

    [[nodiscard]] std::vector<IpAddress> ip_addresses() const;
};

// The identities that carry local_addresses (the local addresses of the tree's sockets) in the
// calling thread's network namespace, one per device. Loopback and wildcard addresses are ignored.
// Unsupported: an address stands on a device that is not a macvlan, or a route of the device has
// several next hops. Invalid: no device has the address. Changes nothing; a few system calls.
Result<std::vector<NetworkIdentity>> find_identities(std::span<const IpAddress> local_addresses);

// JSON, versioned (kIdentityVersion). decode validates everything (I3): names, counts, ranges.
inline constexpr int kIdentityVersion = 1;
[[nodiscard]] std::string encode_identities(std::span<const NetworkIdentity> identities);
Result<std::vector<NetworkIdentity>> decode_identities(std::string_view json);

}  // namespace ferry::handover
