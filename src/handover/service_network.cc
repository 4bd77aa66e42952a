#include "handover/service_network.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/limits.h"
#include "handover/device_settings.h"
#include "handover/routing_rules.h"
#include "handover/rtnetlink.h"
#include "handover/space_settings.h"

namespace ferry::handover {
namespace {

// Modules of tunnels put one of these into every new namespace (net.core.fb_tunnels_only_for_init);
// they come by themselves, and nobody uses one that is down and has no address.
constexpr std::array<std::string_view, 9> kFallbackTunnels = {
    "tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6tnl0", "ip6gre0"};

// One side of the border between a container's namespace and the host's.
struct Side {
    NetlinkSocket netlink;
    std::vector<Link> links;
    std::vector<QueueDiscipline> queues;

    static Result<Side> open() {
        auto netlink = TRY(NetlinkSocket::open(NETLINK_ROUTE));
        auto links = TRY(list_links(netlink));
        auto queues = TRY(list_queue_disciplines(netlink));
        return Side{std::move(netlink), std::move(links), std::move(queues)};
    }
    // What the device does to packets and nobody could make it do elsewhere.
    [[nodiscard]] std::optional<std::string> oddity(const Link& link) const {
        if (link.has_program) return "has an XDP program";
        for (const QueueDiscipline& queue : queues) {
            if (queue.index != link.index || queue.kind == "noqueue") continue;
            return fmt::format("has the queueing discipline {} (tc qdisc)", queue.kind);
        }
        return std::nullopt;
    }
};

std::unexpected<Error> refuse(const std::string& device, std::string_view reason) {
    return fail(
        Error::unsupported(fmt::format("network device {} of the container {}", device, reason)));
}

bool is_fallback_tunnel(const Link& link, const std::vector<AddressOnLink>& addresses) {
    return std::ranges::find(kFallbackTunnels, link.name) != kFallbackTunnels.end() &&
           (link.flags & IFF_UP) == 0 &&
           std::ranges::find(addresses, link.index, &AddressOnLink::index) == addresses.end();
}

Result<BridgePort> read_port(Side& host, const std::string& device, const Link& end) {
    const auto bridge = std::ranges::find(host.links, end.master, &Link::index);
    if (bridge == host.links.end() || end.master_kind != "bridge") {
        return refuse(
            device,
            fmt::format("ends at {}, which is not a port of a bridge of this host", end.name));
    }
    if ((end.flags & IFF_UP) == 0) return refuse(device, "has its other end down");
    if (const auto odd = host.oddity(end))
        return refuse(device, fmt::format("ends at {}, which {}", end.name, *odd));
    const bool odd = end.has_odd_port_settings ||
                     !TRY(has_default_vlans(host.netlink, end.index)) ||
                     TRY(has_static_forwarding(host.netlink, end.index));
    if (odd) {
        return refuse(device, fmt::format("ends at {}, a port of {} with VLANs, a backup port, "
                                          "static forwarding entries or forwarded groups",
                                          end.name, bridge->name));
    }
    return BridgePort{
        .bridge = bridge->name, .name = end.name, .mtu = end.mtu, .settings = end.port_settings};
}

// Of a device whose other half is outside: that half.
Result<const Link*> counterpart(const Side& host, const Link& link,
                                std::optional<std::int32_t> host_id) {
    const auto other = std::ranges::find(host.links, link.parent, &Link::index);
    if (!link.parent_space || link.parent_space != host_id || other == host.links.end()) {
        return refuse(link.name, "has its other half not in the network namespace of this host");
    }
    return &*other;
}

Result<> read_kind(Side& host, const Link& link, std::optional<std::int32_t> host_id,
                   NetworkIdentity& into) {
    if ((link.flags & IFF_LOOPBACK) != 0) {
        into.kind = DeviceKind::Loopback;
        return {};
    }
    if (link.kind != "veth" && link.kind != "macvlan") {
        return refuse(link.name,
                      fmt::format("is a {} device: only veth, macvlan and the loopback device move",
                                  link.kind.empty() ? "hardware" : link.kind));
    }
    if (link.master != 0) return refuse(link.name, "is a port of another device");
    if (!link.mac) return refuse(link.name, "has no Ethernet address");
    const Link* other = TRY(counterpart(host, link, host_id));
    if (link.kind == "veth") {
        into.kind = DeviceKind::Veth;
        into.port = TRY(read_port(host, link.name, *other));
        return {};
    }
    if ((link.macvlan_mode & kMovableMacvlanModes) == 0) {
        return refuse(link.name, "is a macvlan whose mode is neither bridge, private nor vepa");
    }
    into.kind = DeviceKind::Macvlan;
    into.macvlan_mode = link.macvlan_mode;
    into.parent = other->name;
    return {};
}

Result<> refuse_ipsec() {
    auto netlink = NetlinkSocket::open(NETLINK_XFRM);
    if (!netlink) return {};  // A kernel without IPsec.
    for (const std::uint16_t what : {XFRM_MSG_GETSA, XFRM_MSG_GETPOLICY}) {
        NetlinkMessages message;
        message.begin(what, NLM_F_DUMP, xfrm_usersa_id{});
        auto asked = netlink->query(
            message, 1,
            [](const NetlinkReply&) -> Result<> {
                return fail(Error::unsupported("the container's network has IPsec policies"));
            },
            "list IPsec policies");
        if (!asked && asked.error().kind() == Error::Kind::Unsupported) return asked;
    }
    return {};
}

Result<NetworkIdentity> read_one(Side& host, Side& inside, const Link& link,
                                 const std::vector<AddressOnLink>& addresses,
                                 std::optional<std::int32_t> host_id) {
    if (const auto odd = inside.oddity(link)) return refuse(link.name, *odd);
    auto identity = TRY(read_device(inside.netlink, link, addresses));
    identity.index = link.index;
    TRY(read_kind(host, link, host_id, identity));
    // The other settings of the device are among those of the namespace.
    for (Setting& setting : TRY(read_device_settings(link.name))) {
        if (setting.key == kAddressGeneration) identity.settings.push_back(std::move(setting));
    }
    return identity;
}

}  // namespace

std::vector<IpAddress> ServiceNetwork::ip_addresses() const {
    std::vector<IpAddress> all;
    for (const NetworkIdentity& device : devices) {
        for (const IpAddress& address : device.ip_addresses()) {
            if (!address.is_loopback()) all.push_back(address);
        }
    }
    return all;
}

Result<ServiceNetwork> read_network(const os::NetworkNamespace& space) {
    const auto own = TRY(os::NetworkNamespace::own());
    auto host = TRY(Side::open());
    return space.within([&]() -> Result<ServiceNetwork> {
        auto filter = TRY(read_packet_filter());
        filter.connections.clear();  // They are others by the time they are needed.
        TRY(refuse_ipsec());
        auto inside = TRY(Side::open());
        const auto host_id = TRY(space_id(inside.netlink, own.fd()));
        const auto addresses = TRY(list_addresses(inside.netlink));
        ServiceNetwork network;
        for (const Link& link : inside.links) {
            if (is_fallback_tunnel(link, addresses)) continue;
            network.devices.push_back(TRY(read_one(host, inside, link, addresses, host_id)));
        }
        network.space = NetworkSpace{.routes = TRY(list_routes(inside.netlink, 0)),
                                     .rules = TRY(list_rules(inside.netlink)),
                                     .settings = TRY(read_space_settings()),
                                     .filter = std::move(filter)};
        return network;
    });
}

Result<ServiceNetwork> find_network(const os::NetworkNamespace& space,
                                    std::span<const IpAddress> local_addresses) {
    if (!TRY(space.is(TRY(os::NetworkNamespace::own())))) return read_network(space);
    return ServiceNetwork{.devices = TRY(find_identities(local_addresses)), .space = {}};
}

Result<> check_devices(const ServiceNetwork& network, std::span<const std::string> names) {
    const auto comes_along = [&network](const std::string& name) {
        return std::ranges::find(network.devices, name, &NetworkIdentity::name) !=
               network.devices.end();
    };
    if (std::ranges::all_of(names, comes_along)) return {};
    const os::NetworkNamespace space =
        network.space ? TRY(os::NetworkNamespace::make()) : TRY(os::NetworkNamespace::own());
    const std::vector<Link> links = TRY(space.within([]() -> Result<std::vector<Link>> {
        auto netlink = TRY(NetlinkSocket::open(NETLINK_ROUTE));
        return list_links(netlink);
    }));
    for (const std::string& name : names) {
        if (comes_along(name) || std::ranges::find(links, name, &Link::name) != links.end()) {
            continue;
        }
        return fail(Error::invalid(fmt::format(
            "a socket of the service needs the network device {}, which is not here", name)));
    }
    return {};
}

}  // namespace ferry::handover
