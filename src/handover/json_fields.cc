#include "handover/json_fields.h"

#include <net/if.h>

#include <algorithm>
#include <cctype>

namespace ferry::handover::fields {

Result<std::string> text_in(const Json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_string()) return corrupt(key);
    return found->get<std::string>();
}

Result<bool> flag_in(const Json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end()) return false;
    if (!found->is_boolean()) return corrupt(key);
    return found->get<bool>();
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

}  // namespace ferry::handover::fields
