// NetworkIdentity to and from JSON (I3).
#include "handover/identity_codec.h"

#include <fmt/format.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <string>
#include <utility>

#include "handover/device_settings.h"

namespace ferry::handover::fields {

std::uint8_t bits_of(int family) {
    return family == AF_INET ? 32 : 128;
}

Result<int> family_in(const Json& object) {
    const auto family = TRY(number_in<unsigned>(object, "family"));
    if (family != 4 && family != 6) return corrupt("family");
    return family == 4 ? AF_INET : AF_INET6;
}

namespace {

// The smallest and the largest MTU of an Ethernet device (RFC 791; linux/if_ether.h, ETH_MAX_MTU).
constexpr std::uint32_t kMtuMin = 68;
constexpr std::uint32_t kMtuMax = 65535;

Json encode_address(const InterfaceAddress& entry) {
    Json object = {{"address", entry.address.to_string()},
                   {"prefix_length", entry.prefix_length},
                   {"scope", entry.scope},
                   {"flags", entry.flags},
                   {"valid_lifetime", entry.valid_lifetime},
                   {"preferred_lifetime", entry.preferred_lifetime}};
    if (entry.broadcast) object["broadcast"] = entry.broadcast->to_string();
    if (entry.peer) object["peer"] = entry.peer->to_string();
    if (entry.metric) object["metric"] = *entry.metric;
    return object;
}

Result<InterfaceAddress> decode_address(const Json& object) {
    InterfaceAddress entry;
    entry.address = TRY(address_in(object, "address"));
    entry.prefix_length =
        TRY(number_in<std::uint8_t>(object, "prefix_length", bits_of(entry.address.family)));
    entry.scope = TRY(number_in<std::uint8_t>(object, "scope"));
    entry.flags = TRY(number_in<std::uint32_t>(object, "flags"));
    entry.valid_lifetime = TRY(number_in<std::uint32_t>(object, "valid_lifetime"));
    entry.preferred_lifetime = TRY(number_in<std::uint32_t>(object, "preferred_lifetime"));
    entry.broadcast = TRY(optional_address_in(object, "broadcast"));
    entry.peer = TRY(optional_address_in(object, "peer"));
    if (object.contains("metric")) {
        entry.metric = TRY(number_in<std::uint32_t>(object, "metric"));
    }
    const auto other_family = [&](const std::optional<IpAddress>& address) {
        return address && address->family != entry.address.family;
    };
    if (other_family(entry.broadcast) || other_family(entry.peer)) return corrupt("address family");
    return entry;
}

const std::array<std::pair<DeviceKind, const char*>, 3> kKinds = {{
    {DeviceKind::Macvlan, "macvlan"},
    {DeviceKind::Veth, "veth"},
    {DeviceKind::Loopback, "loopback"},
}};

Result<DeviceKind> kind_in(const Json& object) {
    const auto name = TRY(text_in(object, "kind"));
    for (const auto& [kind, text] : kKinds) {
        if (name == text) return kind;
    }
    return corrupt(fmt::format("a device of kind '{}'", name));
}

Json encode_neighbour(const Neighbour& neighbour) {
    return {{"address", neighbour.address.to_string()},
            {"mac", to_string(neighbour.mac)},
            {"permanent", neighbour.permanent}};
}

Result<Neighbour> decode_neighbour(const Json& object) {
    return Neighbour{.address = TRY(address_in(object, "address")),
                     .mac = TRY(mac_in(object, "mac")),
                     .permanent = TRY(flag_in(object, "permanent"))};
}

Json encode_port(const BridgePort& port) {
    return {{"bridge", port.bridge},
            {"name", port.name},
            {"mtu", port.mtu},
            {"settings", array_of(port.settings, [](const auto& setting) -> Json {
                 return {{"type", setting.first}, {"value", setting.second}};
             })}};
}

// Of an Ethernet device.
Result<std::uint32_t> mtu_in(const Json& object) {
    const auto mtu = TRY(number_in<std::uint32_t>(object, "mtu", kMtuMax));
    if (mtu < kMtuMin) return corrupt("mtu");
    return mtu;
}

Result<BridgePort> port_in(const Json& object) {
    const auto found = object.find("port");
    if (found == object.end() || !found->is_object()) return corrupt("port");
    using PortSetting = std::pair<std::uint16_t, std::uint8_t>;
    const auto decode = [](const Json& setting) -> Result<PortSetting> {
        return PortSetting{TRY(number_in<std::uint16_t>(setting, "type", IFLA_BRPORT_MAX)),
                           TRY(number_in<std::uint8_t>(setting, "value"))};
    };
    return BridgePort{.bridge = TRY(device_name_in(*found, "bridge")),
                      .name = TRY(device_name_in(*found, "name")),
                      .mtu = TRY(mtu_in(*found)),
                      .settings = TRY(list_in<PortSetting>(*found, "settings", decode))};
}

// What only one kind of device has.
Result<> decode_kind(const Json& object, NetworkIdentity& into) {
    into.kind = TRY(kind_in(object));
    switch (into.kind) {
        case DeviceKind::Loopback:
            return {};
        case DeviceKind::Macvlan:
            into.parent = TRY(device_name_in(object, "parent"));
            into.macvlan_mode =
                TRY(number_in<std::uint32_t>(object, "macvlan_mode", MACVLAN_MODE_BRIDGE));
            if (!std::has_single_bit(into.macvlan_mode)) return corrupt("macvlan_mode");
            break;
        case DeviceKind::Veth:
            into.port = TRY(port_in(object));
            break;
    }
    into.mac = TRY(mac_in(object, "mac"));
    into.mtu = TRY(mtu_in(object));
    return {};
}

}  // namespace

Json encode_route(const Route& route) {
    Json object = {{"family", route.family == AF_INET ? 4U : 6U},
                   {"prefix_length", route.prefix_length},
                   {"tos", route.tos},
                   {"protocol", route.protocol},
                   {"scope", route.scope},
                   {"type", route.type},
                   {"flags", route.flags},
                   {"table", route.table},
                   {"metrics", array_of(route.metrics, [](const auto& metric) -> Json {
                        return {{"type", metric.first}, {"value", metric.second}};
                    })}};
    if (route.destination) object["destination"] = route.destination->to_string();
    if (route.gateway) object["gateway"] = route.gateway->to_string();
    if (route.preferred_source) object["preferred_source"] = route.preferred_source->to_string();
    if (route.priority) object["priority"] = *route.priority;
    return object;
}

Result<Route> decode_route(const Json& object) {
    Route route;
    route.family = TRY(family_in(object));
    route.prefix_length =
        TRY(number_in<std::uint8_t>(object, "prefix_length", bits_of(route.family)));
    route.tos = TRY(number_in<std::uint8_t>(object, "tos"));
    route.protocol = TRY(number_in<std::uint8_t>(object, "protocol"));
    route.scope = TRY(number_in<std::uint8_t>(object, "scope"));
    route.type = TRY(number_in<std::uint8_t>(object, "type"));
    route.flags = TRY(number_in<std::uint32_t>(object, "flags")) & RTNH_F_ONLINK;
    route.table = TRY(number_in<std::uint32_t>(object, "table"));
    if (object.contains("priority")) {
        route.priority = TRY(number_in<std::uint32_t>(object, "priority"));
    }
    route.destination = TRY(optional_address_in(object, "destination"));
    route.gateway = TRY(optional_address_in(object, "gateway"));
    route.preferred_source = TRY(optional_address_in(object, "preferred_source"));
    for (const auto& address : {route.destination, route.gateway, route.preferred_source}) {
        if (address && address->family != route.family) return corrupt("address family of a route");
    }
    if (!route.destination && route.prefix_length != 0) return corrupt("destination of a route");
    using Metric = std::pair<std::uint16_t, std::uint32_t>;
    route.metrics =
        TRY(list_in<Metric>(object, "metrics", [](const Json& metric) -> Result<Metric> {
            return Metric{TRY(number_in<std::uint16_t>(metric, "type", RTAX_MAX)),
                          TRY(number_in<std::uint32_t>(metric, "value"))};
        }));
    return route;
}

Json encode_setting(const Setting& setting) {
    return {{"key", setting.key}, {"value", setting.value}};
}

Result<Setting> decode_setting(const Json& object) {
    return Setting{.key = TRY(text_in(object, "key")), .value = TRY(text_in(object, "value"))};
}

Json encode_device(const NetworkIdentity& identity) {
    const auto kind =
        std::ranges::find(kKinds, identity.kind, &decltype(kKinds)::value_type::first);
    Json object = {{"kind", kind->second},
                   {"name", identity.name},
                   {"index", static_cast<unsigned>(identity.index)},
                   {"flags", identity.flags},
                   {"mtu", identity.mtu},
                   {"transmit_queue_length", identity.transmit_queue_length},
                   {"addresses", array_of(identity.addresses, encode_address)},
                   {"routes", array_of(identity.routes, encode_route)},
                   {"neighbours", array_of(identity.neighbours, encode_neighbour)},
                   {"settings", array_of(identity.settings, encode_setting)}};
    if (identity.kind != DeviceKind::Loopback) object["mac"] = to_string(identity.mac);
    if (identity.kind == DeviceKind::Veth) object["port"] = encode_port(identity.port);
    if (identity.kind == DeviceKind::Macvlan) {
        object["parent"] = identity.parent;
        object["macvlan_mode"] = identity.macvlan_mode;
    }
    return object;
}

Result<NetworkIdentity> decode_device(const Json& object) {
    constexpr auto kIntMax = static_cast<std::uint64_t>(std::numeric_limits<int>::max());
    constexpr std::uint32_t kFlags = IFF_UP | IFF_NOARP | IFF_PROMISC | IFF_ALLMULTI;
    NetworkIdentity identity;
    identity.name = TRY(device_name_in(object, "name"));
    identity.index = static_cast<int>(TRY(number_in<unsigned>(object, "index", kIntMax)));
    identity.flags = TRY(number_in<std::uint32_t>(object, "flags"));
    if ((identity.flags & ~kFlags) != 0) return corrupt("flags");
    identity.mtu = TRY(number_in<std::uint32_t>(object, "mtu", kIntMax));
    TRY(decode_kind(object, identity));
    identity.transmit_queue_length =
        TRY(number_in<std::uint32_t>(object, "transmit_queue_length", kIntMax));
    identity.addresses = TRY(list_in<InterfaceAddress>(object, "addresses", decode_address));
    identity.routes = TRY(list_in<Route>(object, "routes", decode_route));
    identity.neighbours = TRY(list_in<Neighbour>(object, "neighbours", decode_neighbour));
    identity.settings = TRY(list_in<Setting>(object, "settings", decode_setting));
    if (!std::ranges::all_of(identity.settings, is_valid_setting)) return corrupt("device setting");
    return identity;
}

}  // namespace ferry::handover::fields
