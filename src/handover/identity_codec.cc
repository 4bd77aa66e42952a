// NetworkIdentity to and from JSON. The library's exceptions are switched off: every access is
// checked first, so a hostile peer gets an Error::Kind::Corrupt and nothing else.
#include <fmt/format.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <concepts>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "base/limits.h"
#include "handover/device_settings.h"
#include "handover/network_identity.h"

namespace ferry::handover {
namespace {

using Json = nlohmann::ordered_json;

std::unexpected<Error> corrupt(std::string_view what) {
    return fail(Error::corrupt(fmt::format("network identity: {}", what)));
}

// The smallest and the largest MTU of an Ethernet device (RFC 791; linux/if_ether.h, ETH_MAX_MTU).
constexpr std::uint32_t kMtuMin = 68;
constexpr std::uint32_t kMtuMax = 65535;

template <std::unsigned_integral T>
Result<T> number_in(const Json& object, const char* key,
                    std::uint64_t max = std::numeric_limits<T>::max()) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_number_unsigned()) return corrupt(key);
    const auto value = found->get<std::uint64_t>();
    if (value > max) return corrupt(fmt::format("{} is {}", key, value));
    return static_cast<T>(value);
}

Result<std::string> text_in(const Json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_string()) return corrupt(key);
    return found->get<std::string>();
}

Result<std::optional<IpAddress>> optional_address_in(const Json& object, const char* key) {
    if (!object.contains(key)) return std::nullopt;
    auto address = IpAddress::parse(TRY(text_in(object, key)));
    if (!address) return corrupt(address.error().message());
    return *address;
}

Result<IpAddress> address_in(const Json& object, const char* key) {
    const auto address = TRY(optional_address_in(object, key));
    if (!address) return corrupt(fmt::format("{} is missing", key));
    return *address;
}

Result<MacAddress> mac_in(const Json& object, const char* key) {
    const auto text = TRY(text_in(object, key));
    MacAddress mac{};
    if (text.size() != 3 * mac.size() - 1) return corrupt(key);
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        if (i % 3 == 2 ? c != ':' : std::isxdigit(c) == 0) return corrupt(key);
    }
    for (std::size_t i = 0; i < mac.size(); ++i) {
        mac[i] = static_cast<std::uint8_t>(std::stoul(text.substr(3 * i, 2), nullptr, 16));
    }
    // A multicast or zero address belongs to no device.
    if ((mac[0] & 1) != 0 || mac == MacAddress{}) return corrupt(key);
    return mac;
}

// dev_valid_name() of the kernel.
Result<std::string> device_name_in(const Json& object, const char* key) {
    auto name = TRY(text_in(object, key));
    const bool bad = name.empty() || name.size() >= IFNAMSIZ || name == "." || name == ".." ||
                     std::ranges::any_of(
                         name, [](char c) { return c == '/' || c == ':' || c <= ' ' || c > '~'; });
    if (bad) return corrupt(fmt::format("{} is no device name", key));
    return name;
}

// The elements of an array, each an object.
template <class T, class Decode>
Result<std::vector<T>> list_in(const Json& object, const char* key, Decode decode) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_array()) return corrupt(key);
    if (found->size() > limits::kIdentityEntriesMax) return corrupt(fmt::format("many {}", key));
    std::vector<T> result;
    for (const Json& element : *found) {
        if (!element.is_object()) return corrupt(key);
        result.push_back(TRY(decode(element)));
    }
    return result;
}

std::uint8_t bits_of(int family) {
    return family == AF_INET ? 32 : 128;
}

Json encode_address(const InterfaceAddress& entry) {
    Json object = {{"address", entry.address.to_string()},
                   {"prefix_length", entry.prefix_length},
                   {"scope", entry.scope},
                   {"flags", entry.flags},
                   {"valid_lifetime", entry.valid_lifetime},
                   {"preferred_lifetime", entry.preferred_lifetime}};
    if (entry.broadcast) object["broadcast"] = entry.broadcast->to_string();
    if (entry.peer) object["peer"] = entry.peer->to_string();
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
    const auto other_family = [&](const std::optional<IpAddress>& address) {
        return address && address->family != entry.address.family;
    };
    if (other_family(entry.broadcast) || other_family(entry.peer)) return corrupt("address family");
    return entry;
}

Json encode_route(const Route& route) {
    Json object = {{"family", route.family == AF_INET ? 4U : 6U},
                   {"prefix_length", route.prefix_length},
                   {"tos", route.tos},
                   {"protocol", route.protocol},
                   {"scope", route.scope},
                   {"type", route.type},
                   {"flags", route.flags},
                   {"table", route.table},
                   {"metrics", Json::array()}};
    if (route.destination) object["destination"] = route.destination->to_string();
    if (route.gateway) object["gateway"] = route.gateway->to_string();
    if (route.preferred_source) object["preferred_source"] = route.preferred_source->to_string();
    if (route.priority) object["priority"] = *route.priority;
    for (const auto& [type, value] : route.metrics) {
        object["metrics"].push_back({{"type", type}, {"value", value}});
    }
    return object;
}

Result<Route> decode_route(const Json& object) {
    Route route;
    const auto family = TRY(number_in<unsigned>(object, "family"));
    if (family != 4 && family != 6) return corrupt("family");
    route.family = family == 4 ? AF_INET : AF_INET6;
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

Json encode(const NetworkIdentity& identity) {
    Json object = {{"name", identity.name},
                   {"parent", identity.parent},
                   {"macvlan_mode", identity.macvlan_mode},
                   {"mac", to_string(identity.mac)},
                   {"mtu", identity.mtu},
                   {"addresses", Json::array()},
                   {"routes", Json::array()},
                   {"neighbours", Json::array()},
                   {"settings", Json::array()}};
    for (const auto& entry : identity.addresses) {
        object["addresses"].push_back(encode_address(entry));
    }
    for (const auto& route : identity.routes) object["routes"].push_back(encode_route(route));
    for (const auto& neighbour : identity.neighbours) {
        object["neighbours"].push_back(
            {{"address", neighbour.address.to_string()}, {"mac", to_string(neighbour.mac)}});
    }
    for (const auto& setting : identity.settings) {
        object["settings"].push_back({{"key", setting.key}, {"value", setting.value}});
    }
    return object;
}

Result<DeviceSetting> decode_setting(const Json& object) {
    DeviceSetting setting = {.key = TRY(text_in(object, "key")),
                             .value = TRY(text_in(object, "value"))};
    if (!is_valid_setting(setting)) return corrupt("device setting");
    return setting;
}

Result<NetworkIdentity> decode(const Json& object) {
    NetworkIdentity identity;
    identity.name = TRY(device_name_in(object, "name"));
    identity.parent = TRY(device_name_in(object, "parent"));
    identity.macvlan_mode =
        TRY(number_in<std::uint32_t>(object, "macvlan_mode", MACVLAN_MODE_BRIDGE));
    if (!std::has_single_bit(identity.macvlan_mode)) return corrupt("macvlan_mode");
    identity.mac = TRY(mac_in(object, "mac"));
    identity.mtu = TRY(number_in<std::uint32_t>(object, "mtu", kMtuMax));
    if (identity.mtu < kMtuMin) return corrupt("mtu");
    identity.addresses = TRY(list_in<InterfaceAddress>(object, "addresses", decode_address));
    identity.routes = TRY(list_in<Route>(object, "routes", decode_route));
    identity.neighbours = TRY(
        list_in<Neighbour>(object, "neighbours", [](const Json& neighbour) -> Result<Neighbour> {
            return Neighbour{.address = TRY(address_in(neighbour, "address")),
                             .mac = TRY(mac_in(neighbour, "mac"))};
        }));
    identity.settings = TRY(list_in<DeviceSetting>(object, "settings", decode_setting));
    return identity;
}

}  // namespace

std::string encode_identities(std::span<const NetworkIdentity> identities) {
    Json document = {{"version", kIdentityVersion}, {"identities", Json::array()}};
    for (const auto& identity : identities) document["identities"].push_back(encode(identity));
    // A device name may hold any byte; one that is no UTF-8 cannot be carried and is refused by
    // decode.
    return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<std::vector<NetworkIdentity>> decode_identities(std::string_view json) {
    const Json document = Json::parse(json, nullptr, false);
    if (!document.is_object()) return corrupt("no JSON object");
    const auto version = TRY(number_in<unsigned>(document, "version"));
    if (version != kIdentityVersion) return corrupt(fmt::format("version {}", version));
    return list_in<NetworkIdentity>(document, "identities", decode);
}

}  // namespace ferry::handover
