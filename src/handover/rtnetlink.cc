#include "handover/rtnetlink.h"

#include <fmt/format.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/limits.h"

namespace ferry::handover {
namespace {

// What `ip address add` may set; the other flags are the kernel's own findings.
constexpr std::uint32_t kSettableAddressFlags =
    IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN;

std::span<const std::uint8_t> octets_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}

// Absent where the attribute is absent or holds no IP address.
std::optional<IpAddress> address_in(const NetlinkAttributes& attributes, std::uint16_t type) {
    const auto value = attributes.find(type);
    if (value.empty()) return std::nullopt;
    // Routes may well have IPv4-mapped IPv6 destinations; they are carried as they are.
    IpAddress address;
    if (value.size() != 4 && value.size() != 16) return std::nullopt;
    address.family = value.size() == 4 ? AF_INET : AF_INET6;
    std::ranges::copy(octets_of(value), address.octets.begin());
    return address;
}

std::optional<MacAddress> mac_in(const NetlinkAttributes& attributes, std::uint16_t type) {
    const auto value = octets_of(attributes.find(type));
    MacAddress mac;
    if (value.size() != mac.size()) return std::nullopt;
    std::ranges::copy(value, mac.begin());
    // Neither a group address nor zero belongs to a device.
    if ((mac[0] & 1) != 0 || mac == MacAddress{}) return std::nullopt;
    return mac;
}

// What a bridge knows of a port and what a port of another bridge can be told, one byte each.
constexpr std::array<std::uint16_t, 16> kPortSettings = {
    IFLA_BRPORT_MODE,        IFLA_BRPORT_GUARD,          IFLA_BRPORT_PROTECT,
    IFLA_BRPORT_FAST_LEAVE,  IFLA_BRPORT_LEARNING,       IFLA_BRPORT_UNICAST_FLOOD,
    IFLA_BRPORT_PROXYARP,    IFLA_BRPORT_PROXYARP_WIFI,  IFLA_BRPORT_MULTICAST_ROUTER,
    IFLA_BRPORT_MCAST_FLOOD, IFLA_BRPORT_MCAST_TO_UCAST, IFLA_BRPORT_VLAN_TUNNEL,
    IFLA_BRPORT_BCAST_FLOOD, IFLA_BRPORT_NEIGH_SUPPRESS, IFLA_BRPORT_ISOLATED,
    IFLA_BRPORT_LOCKED};

void read_port(const NetlinkAttributes& settings, Link& link) {
    for (const std::uint16_t type : kPortSettings) {
        if (!settings.has(type)) continue;
        link.port_settings.emplace_back(type, settings.number<std::uint8_t>(type));
    }
    link.port_state = settings.number<std::uint8_t>(IFLA_BRPORT_STATE);
    link.has_odd_port_settings = settings.number<std::uint16_t>(IFLA_BRPORT_GROUP_FWD_MASK) != 0 ||
                                 settings.has(IFLA_BRPORT_BACKUP_PORT);
}

Link read_link(const NetlinkReply& reply) {
    const auto info = reply.header_as<ifinfomsg>();
    const auto& attributes = reply.attributes;
    Link link = {.index = info.ifi_index,
                 .name = attributes.text(IFLA_IFNAME),
                 .kind = {},
                 .alias = attributes.text(IFLA_IFALIAS),
                 .flags = info.ifi_flags,
                 .mtu = attributes.number<std::uint32_t>(IFLA_MTU),
                 .mac = mac_in(attributes, IFLA_ADDRESS),
                 .parent = attributes.number<std::int32_t>(IFLA_LINK),
                 .parent_space = {},
                 .master = attributes.number<std::int32_t>(IFLA_MASTER),
                 .master_kind = {},
                 .transmit_queue_length = attributes.number<std::uint32_t>(IFLA_TXQLEN),
                 .has_program = attributes.nested(IFLA_XDP).number<std::uint8_t>(
                                    IFLA_XDP_ATTACHED) != XDP_ATTACHED_NONE,
                 .port_settings = {}};
    if (attributes.has(IFLA_LINK_NETNSID)) {
        link.parent_space = attributes.number<std::int32_t>(IFLA_LINK_NETNSID);
    }
    const auto kind = attributes.nested(IFLA_LINKINFO);
    link.kind = kind.text(IFLA_INFO_KIND);
    link.master_kind = kind.text(IFLA_INFO_SLAVE_KIND);
    if (link.master_kind == "bridge") read_port(kind.nested(IFLA_INFO_SLAVE_DATA), link);
    if (link.kind == "macvlan") {
        link.macvlan_mode = kind.nested(IFLA_INFO_DATA).number<std::uint32_t>(IFLA_MACVLAN_MODE);
    }
    return link;
}

Result<> read_address(const NetlinkReply& reply, std::vector<AddressOnLink>& into) {
    const auto header = reply.header_as<ifaddrmsg>();
    const auto& attributes = reply.attributes;
    const auto flags = attributes.number<std::uint32_t>(IFA_FLAGS, header.ifa_flags);
    if ((flags & IFA_F_DADFAILED) != 0) return {};
    // IFA_LOCAL is our end; IFA_ADDRESS is the peer's on point-to-point links and the same
    // otherwise.
    const auto local = address_in(attributes, IFA_LOCAL);
    const auto address = address_in(attributes, IFA_ADDRESS);
    if (!local && !address) return {};
    AddressOnLink found = {.index = static_cast<int>(header.ifa_index), .address = {}};
    found.address.address = local ? *local : *address;
    if (local && address && *local != *address) found.address.peer = address;
    found.address.prefix_length = header.ifa_prefixlen;
    found.address.scope = header.ifa_scope;
    found.address.flags = flags & kSettableAddressFlags;
    found.address.broadcast = address_in(attributes, IFA_BROADCAST);
    if (attributes.has(IFA_RT_PRIORITY)) {
        found.address.metric = attributes.number<std::uint32_t>(IFA_RT_PRIORITY);
    }
    const auto cache = attributes.number<ifa_cacheinfo>(
        IFA_CACHEINFO,
        {.ifa_prefered = 0xffffffff, .ifa_valid = 0xffffffff, .cstamp = 0, .tstamp = 0});
    found.address.preferred_lifetime = cache.ifa_prefered;
    found.address.valid_lifetime = cache.ifa_valid;
    into.push_back(found);
    return {};
}

// The kernel makes these again when the address is added.
bool is_kernels_own(const rtmsg& header) {
    return header.rtm_protocol == RTPROT_KERNEL || (header.rtm_flags & RTM_F_CLONED) != 0;
}

bool has_hop_through(const NetlinkAttributes& attributes, int index) {
    bool found = false;
    auto hops = attributes.find(RTA_MULTIPATH);
    while (hops.size() >= sizeof(rtnexthop)) {
        rtnexthop hop;
        std::ranges::copy(hops.first(sizeof(hop)),
                          std::as_writable_bytes(std::span(&hop, 1)).begin());
        if (hop.rtnh_len < sizeof(hop) || hop.rtnh_len > hops.size()) break;
        found = found || hop.rtnh_ifindex == index;
        hops = hops.subspan(std::min<std::size_t>(hops.size(), RTNH_ALIGN(hop.rtnh_len)));
    }
    return found;
}

Result<> read_route(const NetlinkReply& reply, int index, std::vector<Route>& into) {
    const auto header = reply.header_as<rtmsg>();
    const auto& attributes = reply.attributes;
    if (is_kernels_own(header)) return {};
    const bool several = has_hop_through(attributes, index);
    if (!several && attributes.number<std::int32_t>(RTA_OIF) != index) return {};
    Route route = {.family = header.rtm_family,
                   .destination = address_in(attributes, RTA_DST),
                   .prefix_length = header.rtm_dst_len,
                   .tos = header.rtm_tos,
                   .protocol = header.rtm_protocol,
                   .scope = header.rtm_scope,
                   .type = header.rtm_type,
                   .flags = header.rtm_flags & RTNH_F_ONLINK,
                   .table = attributes.number<std::uint32_t>(RTA_TABLE, header.rtm_table),
                   .priority = {},
                   .gateway = address_in(attributes, RTA_GATEWAY),
                   .preferred_source = address_in(attributes, RTA_PREFSRC),
                   .metrics = {}};
    const auto name = route.destination ? route.destination->to_string() : "default";
    if (several || attributes.has(RTA_NH_ID)) {
        return fail(Error::unsupported(
            fmt::format("route {}/{} has several next hops", name, route.prefix_length)));
    }
    if (attributes.has(RTA_ENCAP) || attributes.has(RTA_VIA) || header.rtm_src_len != 0) {
        return fail(Error::unsupported(fmt::format(
            "route {}/{} has an encapsulation, a gateway of another family or a source prefix",
            name, route.prefix_length)));
    }
    if (attributes.has(RTA_PRIORITY)) {
        route.priority = attributes.number<std::uint32_t>(RTA_PRIORITY);
    }
    attributes.nested(RTA_METRICS).for_each([&](std::uint16_t type, auto value) {
        std::uint32_t number = 0;
        if (value.size() != sizeof(number)) return;  // The congestion control's name.
        std::ranges::copy(value, std::as_writable_bytes(std::span(&number, 1)).begin());
        route.metrics.emplace_back(type, number);
    });
    into.push_back(std::move(route));
    return {};
}

}  // namespace

Result<std::vector<Link>> list_links(NetlinkSocket& netlink) {
    NetlinkMessages message;
    message.begin(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{});
    std::vector<Link> links;
    TRY(netlink.query(
        message, sizeof(ifinfomsg),
        [&](const NetlinkReply& reply) -> Result<> {
            if (reply.type == RTM_NEWLINK) links.push_back(read_link(reply));
            return {};
        },
        "list network devices"));
    return links;
}

Result<std::optional<Link>> find_link(NetlinkSocket& netlink, const std::string& name) {
    NetlinkMessages message;
    message.begin(RTM_GETLINK, 0, ifinfomsg{});
    message.put_string(IFLA_IFNAME, name);
    std::optional<Link> link;
    auto found = netlink.query(
        message, sizeof(ifinfomsg),
        [&](const NetlinkReply& reply) -> Result<> {
            link = read_link(reply);
            return {};
        },
        fmt::format("look up network device {}", name));
    if (!found && found.error().code() == ENODEV) return std::nullopt;
    if (!found) return fail(std::move(found.error()));
    return link;
}

Result<std::vector<AddressOnLink>> list_addresses(NetlinkSocket& netlink) {
    NetlinkMessages message;
    message.begin(RTM_GETADDR, NLM_F_DUMP, ifaddrmsg{});
    std::vector<AddressOnLink> addresses;
    TRY(netlink.query(
        message, sizeof(ifaddrmsg),
        [&](const NetlinkReply& reply) { return read_address(reply, addresses); },
        "list addresses"));
    return addresses;
}

Result<std::vector<Route>> list_routes(NetlinkSocket& netlink, int index) {
    std::vector<Route> routes;
    for (const int family : {AF_INET, AF_INET6}) {
        NetlinkMessages message;
        rtmsg header = {};
        header.rtm_family = static_cast<unsigned char>(family);
        message.begin(RTM_GETROUTE, NLM_F_DUMP, header);
        TRY(netlink.query(
            message, sizeof(rtmsg),
            [&](const NetlinkReply& reply) { return read_route(reply, index, routes); },
            "list routes"));
    }
    return routes;
}

Result<std::vector<Neighbour>> list_neighbours(NetlinkSocket& netlink, int index) {
    constexpr std::uint16_t kResolved =
        NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT;
    NetlinkMessages message;
    message.begin(RTM_GETNEIGH, NLM_F_DUMP, ndmsg{});
    std::vector<Neighbour> neighbours;
    TRY(netlink.query(
        message, sizeof(ndmsg),
        [&](const NetlinkReply& reply) -> Result<> {
            const auto header = reply.header_as<ndmsg>();
            const auto address = address_in(reply.attributes, NDA_DST);
            const auto mac = mac_in(reply.attributes, NDA_LLADDR);
            if (header.ndm_ifindex != index || (header.ndm_state & kResolved) == 0) return {};
            // More than the limit is not an error: they are only a convenience.
            if (address && mac && neighbours.size() < limits::kIdentityEntriesMax) {
                neighbours.push_back({.address = *address,
                                      .mac = *mac,
                                      .permanent = (header.ndm_state & NUD_PERMANENT) != 0});
            }
            return {};
        },
        "list neighbours"));
    return neighbours;
}

Result<NetworkIdentity> read_device(NetlinkSocket& netlink, const Link& link,
                                    const std::vector<AddressOnLink>& addresses) {
    NetworkIdentity identity;
    identity.name = link.name;
    identity.flags = link.flags & (IFF_UP | IFF_NOARP | IFF_PROMISC | IFF_ALLMULTI);
    identity.mac = link.mac.value_or(MacAddress{});
    identity.mtu = link.mtu;
    identity.transmit_queue_length = link.transmit_queue_length;
    for (const AddressOnLink& entry : addresses) {
        if (entry.index == link.index) identity.addresses.push_back(entry.address);
    }
    const auto what = fmt::format("network device {}", link.name);
    identity.routes = TRY(with_context(list_routes(netlink, link.index), what));
    identity.neighbours = TRY(with_context(list_neighbours(netlink, link.index), what));
    if (identity.addresses.size() > limits::kIdentityEntriesMax ||
        identity.routes.size() > limits::kIdentityEntriesMax) {
        return fail(Error::limit(what + " has too many addresses or routes"));
    }
    return identity;
}

Result<std::optional<std::int32_t>> space_id(NetlinkSocket& netlink, int space_fd) {
    NetlinkMessages message;
    message.begin(RTM_GETNSID, 0, rtgenmsg{});
    message.put_number(NETNSA_FD, static_cast<std::uint32_t>(space_fd));
    std::optional<std::int32_t> id;
    TRY(netlink.query(
        message, sizeof(rtgenmsg),
        [&](const NetlinkReply& reply) -> Result<> {
            const auto number =
                reply.attributes.number<std::int32_t>(NETNSA_NSID, NETNSA_NSID_NOT_ASSIGNED);
            if (number != NETNSA_NSID_NOT_ASSIGNED) id = number;
            return {};
        },
        "look up a network namespace"));
    return id;
}

Result<bool> has_static_forwarding(NetlinkSocket& netlink, int index) {
    NetlinkMessages message;
    ndmsg header = {};
    header.ndm_family = AF_BRIDGE;
    message.begin(RTM_GETNEIGH, NLM_F_DUMP, header);
    bool found = false;
    TRY(netlink.query(
        message, sizeof(ndmsg),
        [&](const NetlinkReply& reply) -> Result<> {
            const auto entry = reply.header_as<ndmsg>();
            // Permanent ones are the ports' own addresses.
            found = found || (entry.ndm_ifindex == index && (entry.ndm_state & NUD_NOARP) != 0 &&
                              reply.attributes.has(NDA_MASTER));
            return {};
        },
        "list forwarding entries of bridges"));
    return found;
}

Result<std::vector<QueueDiscipline>> list_queue_disciplines(NetlinkSocket& netlink) {
    NetlinkMessages message;
    message.begin(RTM_GETQDISC, NLM_F_DUMP, tcmsg{});
    std::vector<QueueDiscipline> found;
    TRY(netlink.query(
        message, sizeof(tcmsg),
        [&](const NetlinkReply& reply) -> Result<> {
            found.push_back({.index = reply.header_as<tcmsg>().tcm_ifindex,
                             .kind = reply.attributes.text(TCA_KIND)});
            return {};
        },
        "list queueing disciplines"));
    return found;
}

Result<bool> has_default_vlans(NetlinkSocket& netlink, int index) {
    NetlinkMessages message;
    ifinfomsg header = {};
    header.ifi_family = AF_BRIDGE;
    message.begin(RTM_GETLINK, NLM_F_DUMP, header);
    message.put_number(IFLA_EXT_MASK, std::uint32_t{RTEXT_FILTER_BRVLAN});
    bool plain = true;
    TRY(netlink.query(
        message, sizeof(ifinfomsg),
        [&](const NetlinkReply& reply) -> Result<> {
            if (reply.header_as<ifinfomsg>().ifi_index != index) return {};
            reply.attributes.nested(IFLA_AF_SPEC).for_each([&](std::uint16_t type, auto value) {
                bridge_vlan_info vlan = {};
                if (type != IFLA_BRIDGE_VLAN_INFO || value.size() != sizeof(vlan)) return;
                std::ranges::copy(value, std::as_writable_bytes(std::span(&vlan, 1)).begin());
                constexpr auto kPlain = BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED;
                plain = plain && vlan.vid == 1 && vlan.flags == kPlain;
            });
            return {};
        },
        "list VLANs of bridge ports"));
    return plain;
}

}  // namespace ferry::handover
