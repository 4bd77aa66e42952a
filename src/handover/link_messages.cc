#include "handover/link_messages.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

namespace ferry::handover {
namespace {

constexpr std::uint16_t kCreate = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;

ifinfomsg info_of(int index) {
    ifinfomsg info = {};
    info.ifi_index = index;
    return info;
}

void put_common(NetlinkMessages& m, const NetworkIdentity& identity) {
    m.put_string(IFLA_IFNAME, identity.name);
    m.put_number(IFLA_MTU, identity.mtu);
    m.put_number(IFLA_TXQLEN, identity.transmit_queue_length);
    m.put_bytes(IFLA_ADDRESS, identity.mac);
}

// A bridge without an address of its own takes the lowest of its ports, and would lose its hosts'
// neighbour entries with each change: this one is hardly ever the lowest. It is no group address,
// locally administered, and another one than the device's.
MacAddress mac_of_other_end(MacAddress mac) {
    constexpr std::uint8_t kHigh = 0xfe;
    if (mac[0] == kHigh) mac.back() ^= 1;
    mac[0] = kHigh;
    return mac;
}

}  // namespace

NetlinkMessages create_macvlan(const NetworkIdentity& identity, int parent,
                               std::optional<int> space) {
    NetlinkMessages m;
    m.begin(RTM_NEWLINK, kCreate, ifinfomsg{});
    put_common(m, identity);
    m.put_number(IFLA_LINK, static_cast<std::uint32_t>(parent));
    if (space) m.put_number(IFLA_NET_NS_FD, static_cast<std::uint32_t>(*space));
    m.nest(IFLA_LINKINFO, [&] {
        m.put_string(IFLA_INFO_KIND, "macvlan");
        m.nest(IFLA_INFO_DATA, [&] { m.put_number(IFLA_MACVLAN_MODE, identity.macvlan_mode); });
    });
    return m;
}

NetlinkMessages create_veth(const NetworkIdentity& identity, const std::string& host_name,
                            int host) {
    NetlinkMessages m;
    m.begin(RTM_NEWLINK, kCreate, info_of(identity.index));
    put_common(m, identity);
    m.nest(IFLA_LINKINFO, [&] {
        m.put_string(IFLA_INFO_KIND, "veth");
        m.nest(IFLA_INFO_DATA, [&] {
            m.nest_behind(VETH_INFO_PEER, ifinfomsg{}, [&] {
                m.put_string(IFLA_IFNAME, host_name);
                m.put_number(IFLA_NET_NS_FD, static_cast<std::uint32_t>(host));
                m.put_number(IFLA_MTU, identity.port.mtu);
                m.put_bytes(IFLA_ADDRESS, mac_of_other_end(identity.mac));
            });
        });
    });
    return m;
}

NetlinkMessages plug_into(int index, int bridge) {
    NetlinkMessages m;
    m.begin(RTM_SETLINK, NLM_F_ACK, info_of(index));
    m.put_number(IFLA_MASTER, static_cast<std::uint32_t>(bridge));
    return m;
}

NetlinkMessages set_port(int index, const BridgePort& port) {
    NetlinkMessages m;
    m.begin(RTM_NEWLINK, NLM_F_ACK, info_of(index));
    m.nest(IFLA_LINKINFO, [&] {
        m.put_string(IFLA_INFO_SLAVE_KIND, "bridge");
        m.nest(IFLA_INFO_SLAVE_DATA, [&] {
            for (const auto& [type, value] : port.settings) m.put_number(type, value);
        });
    });
    return m;
}

NetlinkMessages delete_link(const std::string& name) {
    NetlinkMessages m;
    m.begin(RTM_DELLINK, NLM_F_ACK, ifinfomsg{});
    m.put_string(IFLA_IFNAME, name);
    return m;
}

NetlinkMessages set_alias(int index, const std::string& alias) {
    NetlinkMessages m;
    m.begin(RTM_SETLINK, NLM_F_ACK, info_of(index));
    m.put_string(IFLA_IFALIAS, alias);
    return m;
}

NetlinkMessages set_address_generation(int index, std::uint8_t mode) {
    NetlinkMessages m;
    m.begin(RTM_SETLINK, NLM_F_ACK, info_of(index));
    m.nest(IFLA_AF_SPEC,
           [&] { m.nest(AF_INET6, [&] { m.put_number(IFLA_INET6_ADDR_GEN_MODE, mode); }); });
    return m;
}

NetlinkMessages set_flags(int index, std::uint32_t flags) {
    ifinfomsg info = info_of(index);
    info.ifi_flags = flags;
    info.ifi_change = flags;
    NetlinkMessages m;
    m.begin(RTM_SETLINK, NLM_F_ACK, info);
    return m;
}

NetlinkMessages add_address(const InterfaceAddress& address, int index) {
    const bool v6 = address.address.family == AF_INET6;
    ifaddrmsg header = {};
    header.ifa_family = static_cast<std::uint8_t>(address.address.family);
    header.ifa_prefixlen = address.prefix_length;
    header.ifa_scope = address.scope;
    header.ifa_index = static_cast<std::uint32_t>(index);
    NetlinkMessages m;
    m.begin(RTM_NEWADDR, kCreate, header);
    m.put_bytes(IFA_LOCAL, address.address.bytes());
    m.put_bytes(IFA_ADDRESS, (address.peer ? *address.peer : address.address).bytes());
    if (address.broadcast) m.put_bytes(IFA_BROADCAST, address.broadcast->bytes());
    if (address.metric) m.put_number(IFA_RT_PRIORITY, *address.metric);
    m.put_number(IFA_FLAGS, address.flags | (v6 ? std::uint32_t{IFA_F_NODAD} : 0));
    ifa_cacheinfo lifetimes = {};
    lifetimes.ifa_prefered = address.preferred_lifetime;
    lifetimes.ifa_valid = address.valid_lifetime;
    m.put(IFA_CACHEINFO, std::as_bytes(std::span(&lifetimes, 1)));
    return m;
}

NetlinkMessages add_route(const Route& route, int index) {
    rtmsg header = {};
    header.rtm_family = static_cast<std::uint8_t>(route.family);
    header.rtm_dst_len = route.prefix_length;
    header.rtm_tos = route.tos;
    header.rtm_protocol = route.protocol;
    header.rtm_scope = route.scope;
    header.rtm_type = route.type;
    header.rtm_flags = route.flags;
    header.rtm_table = RT_TABLE_UNSPEC;  // RTA_TABLE says it, with room for more than 255.
    // IPv4: a route of the uplink with the same destination and metric stays in front, as at a
    // source where the device came second. IPv6 would join the two to one of several hops, so it
    // may not exist.
    const std::uint16_t flags =
        route.family == AF_INET ? NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK : kCreate;
    NetlinkMessages m;
    m.begin(RTM_NEWROUTE, flags, header);
    m.put_number(RTA_TABLE, route.table);
    if (index != 0) m.put_number(RTA_OIF, static_cast<std::uint32_t>(index));
    if (route.destination) m.put_bytes(RTA_DST, route.destination->bytes());
    if (route.gateway) m.put_bytes(RTA_GATEWAY, route.gateway->bytes());
    if (route.preferred_source) m.put_bytes(RTA_PREFSRC, route.preferred_source->bytes());
    if (route.priority) m.put_number(RTA_PRIORITY, *route.priority);
    if (!route.metrics.empty()) {
        m.nest(RTA_METRICS, [&] {
            for (const auto& [type, value] : route.metrics) m.put_number(type, value);
        });
    }
    return m;
}

NetlinkMessages add_neighbour(const Neighbour& neighbour, int index) {
    ndmsg header = {};
    header.ndm_family = static_cast<std::uint8_t>(neighbour.address.family);
    header.ndm_ifindex = index;
    header.ndm_state = neighbour.permanent ? NUD_PERMANENT : NUD_STALE;
    NetlinkMessages m;
    m.begin(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, header);
    m.put_bytes(NDA_DST, neighbour.address.bytes());
    m.put_bytes(NDA_LLADDR, neighbour.mac);
    return m;
}

}  // namespace ferry::handover
