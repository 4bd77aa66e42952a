// One TCP segment without payload, given to our own stack through loopback as if its sender, a peer
// elsewhere, had sent it. The only means to bring a half-closed connection into its state:
// TCP_REPAIR cannot put a FIN into a receive queue.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/error.h"
#include "resources/inet_address.h"

namespace ferry::resources {

struct TcpSegment {
    InetEndpoint source, destination;  // of the same family; destination is a local address
    std::uint32_t sequence = 0;
    std::uint32_t acknowledged = 0;
    bool fin = false;
};

// The packet with its IP header, checksums filled in.
[[nodiscard]] std::vector<std::byte> build_segment(const TcpSegment& segment);

// Through a raw socket marked with `mark` (needs CAP_NET_RAW, CAP_NET_ADMIN).
Result<> inject_segment(const TcpSegment& segment, std::uint32_t mark);

}  // namespace ferry::resources
