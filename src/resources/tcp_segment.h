// One TCP segment without payload (ip_packet.h). The only means to bring a half-closed connection
// into its state: TCP_REPAIR cannot put a FIN into a receive queue.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/error.h"
#include "resources/ip_packet.h"

namespace ferry::resources {

struct TcpSegment {
    InetEndpoint source, destination;  // of the same family; destination is a local address
    std::uint32_t sequence = 0;
    std::uint32_t acknowledged = 0;
    bool fin = false;
};

// The packet with its IP header, checksums filled in.
[[nodiscard]] std::vector<std::byte> build_segment(const TcpSegment& segment);

// Gives it to our own stack, as inject_packet().
Result<> inject_segment(const TcpSegment& segment, std::uint32_t mark);

}  // namespace ferry::resources
