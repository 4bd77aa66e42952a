// What handover must know of IP packets: how long they are, where they go, and their checksums.
//
// Source relied upon: RFC 791, RFC 8200, RFC 1071.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "handover/ip_address.h"

namespace ferry::handover {

// The largest packet that an IPv4 or IPv6 header without a jumbo option can describe.
inline constexpr std::size_t kIpPacketBytesMax = 65535 + 40;

// The length that the IP header states; absent: no whole IPv4 or IPv6 packet lies in `bytes`.
[[nodiscard]] std::optional<std::size_t> ip_packet_length(std::span<const std::byte> bytes);
// `packet` must have passed ip_packet_length.
[[nodiscard]] IpAddress ip_destination(std::span<const std::byte> packet);
// A segment of a TCP connection that both ends know: no SYN. False for fragments. `packet` must
// have passed ip_packet_length.
[[nodiscard]] bool is_of_known_connection(std::span<const std::byte> packet);
// Fills in the transport checksum of TCP, UDP and ICMPv6. A packet that has only been handed over
// inside one kernel (veth, macvlan, segmentation offload) never had one. Fragments and other
// protocols are left as they are. `packet` must have passed ip_packet_length.
void complete_checksum(std::span<std::byte> packet);

}  // namespace ferry::handover
