// What is held for a frozen service, and what a held packet is.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "handover/ip_address.h"

namespace ferry::handover {

// All traffic of an address, or only that of one local TCP port.
struct HoldTarget {
    IpAddress address;
    std::uint16_t port = 0;  // host byte order; 0: all ports and protocols
    auto operator<=>(const HoldTarget&) const = default;
};

enum class HoldScope {
    NewConnections,  // TCP SYNs to the targets
    Everything,      // all packets to the targets and from them
};

// The mark (SO_MARK) of replayed packets: the hold's rules let them in, its capture leaves them
// out.
inline constexpr std::uint32_t kReplayMark = 0x0fe44700;

// One IP packet, from its IP header on, with all checksums complete.
using HeldPacket = std::vector<std::byte>;

}  // namespace ferry::handover
