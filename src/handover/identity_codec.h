// The parts of a ServiceNetwork to and from JSON. Internal to its codec (network_codec.cc).
#pragma once

#include "base/error.h"
#include "handover/json_fields.h"
#include "handover/network_identity.h"

namespace ferry::handover::fields {

[[nodiscard]] Json encode_route(const Route& route);
Result<Route> decode_route(const Json& object);
[[nodiscard]] Json encode_setting(const Setting& setting);
// Not validated: what a setting may be depends on what it is of.
Result<Setting> decode_setting(const Json& object);
[[nodiscard]] Json encode_device(const NetworkIdentity& identity);
Result<NetworkIdentity> decode_device(const Json& object);
// "family": 4 or 6, as AF_INET or AF_INET6; and how many bits its addresses have.
Result<int> family_in(const Json& object);
[[nodiscard]] std::uint8_t bits_of(int family);

}  // namespace ferry::handover::fields
