// ServiceNetwork to and from JSON. Every access is checked first, so a hostile peer gets an
// Error::Kind::Corrupt and nothing else (I3).
#include <fmt/format.h>
#include <linux/fib_rules.h>
#include <net/if.h>

#include <algorithm>
#include <charconv>

#include "handover/identity_codec.h"
#include "handover/service_network.h"
#include "handover/space_settings.h"

namespace ferry::handover {
namespace {

using fields::array_of;
using fields::bits_of;
using fields::corrupt;
using fields::decode_device;
using fields::decode_route;
using fields::decode_setting;
using fields::device_name_in;
using fields::encode_device;
using fields::encode_route;
using fields::encode_setting;
using fields::family_in;
using fields::flag_in;
using fields::Json;
using fields::list_in;
using fields::number_in;
using fields::optional_address_in;
using fields::text_in;

Json encode_rule(const RoutingRule& rule) {
    Json object = {{"family", rule.family == AF_INET ? 4U : 6U},
                   {"action", rule.action},
                   {"tos", rule.tos},
                   {"protocol", rule.protocol},
                   {"inverted", rule.inverted},
                   {"priority", rule.priority},
                   {"table", rule.table},
                   {"mark", rule.mark},
                   {"mark_mask", rule.mark_mask},
                   {"suppress_prefix_length", rule.suppress_prefix_length},
                   {"source_length", rule.source_length},
                   {"destination_length", rule.destination_length}};
    if (rule.source) object["source"] = rule.source->to_string();
    if (rule.destination) object["destination"] = rule.destination->to_string();
    if (!rule.input.empty()) object["input"] = rule.input;
    if (!rule.output.empty()) object["output"] = rule.output;
    return object;
}

Result<RoutingRule> decode_rule(const Json& object) {
    RoutingRule rule;
    rule.family = TRY(family_in(object));
    rule.action = TRY(number_in<std::uint8_t>(object, "action", FR_ACT_MAX));
    rule.tos = TRY(number_in<std::uint8_t>(object, "tos"));
    rule.protocol = TRY(number_in<std::uint8_t>(object, "protocol"));
    rule.inverted = TRY(flag_in(object, "inverted"));
    rule.priority = TRY(number_in<std::uint32_t>(object, "priority"));
    rule.table = TRY(number_in<std::uint32_t>(object, "table"));
    rule.mark = TRY(number_in<std::uint32_t>(object, "mark"));
    rule.mark_mask = TRY(number_in<std::uint32_t>(object, "mark_mask"));
    rule.suppress_prefix_length = TRY(number_in<std::uint32_t>(object, "suppress_prefix_length"));
    const auto bits = bits_of(rule.family);
    rule.source_length = TRY(number_in<std::uint8_t>(object, "source_length", bits));
    rule.destination_length = TRY(number_in<std::uint8_t>(object, "destination_length", bits));
    rule.source = TRY(optional_address_in(object, "source"));
    rule.destination = TRY(optional_address_in(object, "destination"));
    for (const auto& address : {rule.source, rule.destination}) {
        if (address && address->family != rule.family) return corrupt("address family of a rule");
    }
    if (object.contains("input")) rule.input = TRY(device_name_in(object, "input"));
    if (object.contains("output")) rule.output = TRY(device_name_in(object, "output"));
    return rule;
}

// Two digits for each byte.
std::string to_hexadecimal(std::string_view bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    text.reserve(2 * bytes.size());
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        text.push_back(kDigits[byte >> 4]);
        text.push_back(kDigits[byte & 0xf]);
    }
    return text;
}

Result<PacketFilter> filter_in(const Json& object) {
    const auto text = TRY(text_in(object, "filter"));
    std::vector<std::byte> bytes(text.size() / 2);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        std::uint8_t byte = 0;
        const char* const digits = text.data() + 2 * i;
        if (std::from_chars(digits, digits + 2, byte, 16).ptr != digits + 2) {
            return corrupt("filter");
        }
        bytes[i] = std::byte{byte};
    }
    if (text.size() % 2 != 0) return corrupt("filter");
    return decode_filter(bytes);
}

Result<NetworkSpace> decode_space(const Json& object) {
    if (!object.is_object()) return corrupt("space");
    NetworkSpace space = {.routes = TRY(list_in<Route>(object, "routes", decode_route)),
                          .rules = TRY(list_in<RoutingRule>(object, "rules", decode_rule)),
                          .settings = TRY(list_in<Setting>(object, "settings", decode_setting))};
    if (!std::ranges::all_of(space.settings, is_valid_space_setting)) return corrupt("setting");
    if (object.contains("filter")) space.filter = TRY(filter_in(object));
    return space;
}

// What only a namespace of its own can have, and that no name comes twice.
Result<> check(const ServiceNetwork& network) {
    std::vector<std::string> names;
    for (const NetworkIdentity& device : network.devices) {
        if (!network.space && device.kind != DeviceKind::Macvlan) return corrupt("kind");
        names.push_back(device.name);
    }
    std::ranges::sort(names);
    if (std::ranges::adjacent_find(names) != names.end()) return corrupt("a device twice");
    return {};
}

}  // namespace

std::string encode_network(const ServiceNetwork& network) {
    Json document = {{"version", kNetworkVersion},
                     {"devices", array_of(network.devices, encode_device)}};
    if (network.space) {
        document["space"] = {{"routes", array_of(network.space->routes, encode_route)},
                             {"rules", array_of(network.space->rules, encode_rule)},
                             {"settings", array_of(network.space->settings, encode_setting)}};
        if (!network.space->filter.empty()) {
            document["space"]["filter"] = to_hexadecimal(encode_filter(network.space->filter));
        }
    }
    // A device name may hold any byte; one that is no UTF-8 cannot be carried and is refused by
    // decode.
    return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<ServiceNetwork> decode_network(std::string_view json) {
    const Json document = Json::parse(json, nullptr, false);
    if (!document.is_object()) return corrupt("no JSON object");
    const auto version = TRY(number_in<unsigned>(document, "version"));
    if (version != kNetworkVersion) return corrupt(fmt::format("version {}", version));
    ServiceNetwork network;
    network.devices = TRY(list_in<NetworkIdentity>(document, "devices", decode_device));
    if (document.contains("space")) network.space = TRY(decode_space(document["space"]));
    TRY(check(network));
    return network;
}

}  // namespace ferry::handover
