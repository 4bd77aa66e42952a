// The network identity of a service: a device that carries its addresses, as a value that can be
// carried to another host and made there again, so that peers cannot tell the hosts apart.
//
// Only a device of its own can move: its MAC goes with it, so no neighbour cache in the network has
// to be right about two hosts at once. In the host's namespace that is a macvlan; an address on any
// other device (the uplink itself, a bridge, a tunnel) is refused by name before anything is
// frozen. A network namespace of its own (service_network.h) has its end of a veth pair as well,
// and its loopback device.
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
    std::optional<std::uint32_t> metric = {};  // of the route that the kernel makes for its prefix
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
// move. A permanent one was set by hand.
struct Neighbour {
    IpAddress address;
    MacAddress mac{};
    bool permanent = false;
    bool operator==(const Neighbour&) const = default;
};

// A setting under /proc/sys/net. Of a device the key is "ipv4/rp_filter" for
// net/ipv4/conf/NAME/rp_filter, of a namespace it is the path.
struct Setting {
    std::string key, value;
    bool operator==(const Setting&) const = default;
};

enum class DeviceKind { Macvlan, Veth, Loopback };

// The host's end of a veth pair, which belongs to a bridge of the host.
struct BridgePort {
    std::string bridge;
    std::string name;                                              // of the host's end
    std::uint32_t mtu = 1500;                                      // of the host's end
    std::vector<std::pair<std::uint16_t, std::uint8_t>> settings;  // IFLA_BRPORT_*, value
    bool operator==(const BridgePort&) const = default;
};

struct NetworkIdentity {
    DeviceKind kind = DeviceKind::Macvlan;
    std::string name;                // of the device
    std::string parent;              // macvlan: name of the device it stands on, at the source
    std::uint32_t macvlan_mode = 0;  // macvlan: MACVLAN_MODE_* (one bit)
    BridgePort port;                 // veth: where it is plugged in, at the source
    int index = 0;                   // interface index in a namespace of its own; 0: any
    std::uint32_t flags = 1;         // IFF_UP, IFF_NOARP, IFF_PROMISC, IFF_ALLMULTI
    MacAddress mac{};                // zero for the loopback device
    std::uint32_t mtu = 1500;
    std::uint32_t transmit_queue_length = 1000;
    std::vector<InterfaceAddress> addresses;
    std::vector<Route> routes;
    std::vector<Neighbour> neighbours;
    std::vector<Setting> settings;
    bool operator==(const NetworkIdentity&) const = default;

    [[nodiscard]] std::vector<IpAddress> ip_addresses() const;
};

// The identities that carry local_addresses (the local addresses of the tree's sockets) in the
// calling thread's network namespace, which is the host's; one per device. Loopback and wildcard
// addresses are ignored. Unsupported: an address stands on a device that is not a macvlan, or a
// route of the device has several next hops. Invalid: no device has the address. Changes nothing; a
// few system calls.
Result<std::vector<NetworkIdentity>> find_identities(std::span<const IpAddress> local_addresses);

}  // namespace ferry::handover
