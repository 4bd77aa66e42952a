// Whole Ethernet frames that we send ourselves. Internal to announcement.cc and address_probe.cc.
#pragma once

#include <arpa/inet.h>
#include <net/ethernet.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "handover/network_identity.h"

namespace ferry::handover {

using Frame = std::vector<std::byte>;

inline constexpr MacAddress kBroadcastMac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
// RFC 4861: neighbour discovery with another one is discarded.
inline constexpr std::uint8_t kNeighbourHopLimit = 255;

template <class T>
void append(Frame& frame, const T& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    frame.insert(frame.end(), bytes.begin(), bytes.end());
}

inline ether_header ethernet(const MacAddress& to, const MacAddress& from, std::uint16_t type) {
    ether_header header = {};
    std::ranges::copy(to, header.ether_dhost);
    std::ranges::copy(from, header.ether_shost);
    header.ether_type = htons(type);
    return header;
}

}  // namespace ferry::handover
