// The network of a service as a value: what has to exist at the destination before its sockets can.
// A service in the host's network namespace has devices of its own there; a container has a whole
// namespace, of which everything moves.
//
// Source relied upon: network_namespaces(7), veth(4), rtnetlink(7), linux/fib_rules.h.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "handover/network_hold.h"
#include "handover/network_identity.h"
#include "handover/packet_filter.h"
#include "os/network_namespace.h"

namespace ferry::handover {

// `ip rule`, without the rarer selectors.
struct RoutingRule {
    int family = AF_INET;
    std::uint8_t action = 1;  // FR_ACT_*
    std::uint8_t tos = 0, protocol = 0;
    bool inverted = false;  // FIB_RULE_INVERT
    std::uint32_t priority = 0, table = 0, mark = 0, mark_mask = 0;
    std::uint32_t suppress_prefix_length = 0xffffffff;  // 0xffffffff: nothing is suppressed
    std::optional<IpAddress> source, destination;
    std::uint8_t source_length = 0, destination_length = 0;
    std::string input, output;  // device names
    bool operator==(const RoutingRule&) const = default;
};

// What a network namespace has beside its devices.
struct NetworkSpace {
    std::vector<Route> routes;       // of no device (blackhole, unreachable, prohibit, throw)
    std::vector<RoutingRule> rules;  // all, the kernel's own included
    std::vector<Setting> settings;   // all that can be written, and those of its devices
    PacketFilter filter = {};        // its connections only where nothing happens in between
    bool operator==(const NetworkSpace&) const = default;
};

struct ServiceNetwork {
    std::vector<NetworkIdentity> devices;
    std::optional<NetworkSpace> space;  // absent: the devices are in the host's namespace
    bool operator==(const ServiceNetwork&) const = default;

    // For which packets are held, loopback left out.
    [[nodiscard]] std::vector<IpAddress> ip_addresses() const;
    // Of a namespace of its own; nobody looks into the host's.
    [[nodiscard]] Firewall firewall() const {
        return space && !space->filter.ruleset.empty() ? Firewall::Yes : Firewall::No;
    }
};

// Everything of a container's network namespace. The calling thread is in the host's, where the
// other ends of its veth pairs are. Unsupported, by name: a device of another kind, a veth whose
// other end is not a port of a bridge here, queueing disciplines, IPsec policies, what
// read_packet_filter() refuses, and what else cannot be made again. Tracked connections are left
// out: they are read in the freeze. Changes nothing; some ten milliseconds.
Result<ServiceNetwork> read_network(const os::NetworkNamespace& space);

// The network of a process in the namespace `space`: all of it where it is not the calling
// thread's, as read_network() says, otherwise the devices that have its addresses
// (find_identities()).
Result<ServiceNetwork> find_network(const os::NetworkNamespace& space,
                                    std::span<const IpAddress> local_addresses);

// Whether the devices of these names will be there at the destination: they come with the network,
// or are there: on this host, or, for a network namespace that is to be made, in every new one.
// Invalid: the first that will not.
Result<> check_devices(const ServiceNetwork& network, std::span<const std::string> names);

// JSON, versioned (kNetworkVersion). decode validates everything (I3): names, counts, ranges.
inline constexpr int kNetworkVersion = 3;
[[nodiscard]] std::string encode_network(const ServiceNetwork& network);
Result<ServiceNetwork> decode_network(std::string_view json);

}  // namespace ferry::handover
