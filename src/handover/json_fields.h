// Access to the fields of a JSON object that a peer has sent: every one is checked, and what is
// missing or out of range is Error::Kind::Corrupt. The library's exceptions are never met.
// Internal to the codec of ServiceNetwork.
#pragma once

#include <fmt/format.h>

#include <concepts>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/limits.h"
#include "handover/network_identity.h"

namespace ferry::handover::fields {

using Json = nlohmann::ordered_json;

[[nodiscard]] inline std::unexpected<Error> corrupt(std::string_view what) {
    return fail(Error::corrupt(fmt::format("network of the service: {}", what)));
}

template <std::unsigned_integral T>
Result<T> number_in(const Json& object, const char* key,
                    std::uint64_t max = std::numeric_limits<T>::max()) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_number_unsigned()) return corrupt(key);
    const auto value = found->get<std::uint64_t>();
    if (value > max) return corrupt(fmt::format("{} is {}", key, value));
    return static_cast<T>(value);
}

Result<std::string> text_in(const Json& object, const char* key);
// false where the field is absent.
Result<bool> flag_in(const Json& object, const char* key);
// Absent where the field is absent.
Result<std::optional<IpAddress>> optional_address_in(const Json& object, const char* key);
Result<IpAddress> address_in(const Json& object, const char* key);
Result<MacAddress> mac_in(const Json& object, const char* key);
// A name that the kernel would take for a device (dev_valid_name).
Result<std::string> device_name_in(const Json& object, const char* key);

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

template <class T, class Encode>
Json array_of(const std::vector<T>& elements, Encode encode) {
    Json array = Json::array();
    for (const T& element : elements) array.push_back(encode(element));
    return array;
}

}  // namespace ferry::handover::fields
