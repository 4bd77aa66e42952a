// IP packets that are given to our own stack through loopback, as if their senders, elsewhere, had
// sent them: what no system call puts into a socket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "resources/inet_address.h"

namespace ferry::resources {

struct PacketEnds {
    InetEndpoint source, destination;  // of the same family; destination is a local address
};

// Of a TCP or UDP header whose own field is zero, with what follows it (RFC 9293, RFC 768): in host
// byte order.
[[nodiscard]] std::uint16_t transport_checksum(const PacketEnds& ends, std::uint8_t protocol,
                                               std::span<const std::byte> segment);
// The segment behind an IP header, which has its checksum.
[[nodiscard]] std::vector<std::byte> build_packet(const PacketEnds& ends, std::uint8_t protocol,
                                                  std::span<const std::byte> segment);
// A datagram as such a packet. At most limits of UDP: 65,507 bytes.
[[nodiscard]] std::vector<std::byte> build_datagram(const PacketEnds& ends,
                                                    std::span<const std::byte> content);

// Through a raw socket marked with `mark` (needs CAP_NET_RAW, CAP_NET_ADMIN).
Result<> inject_packet(const InetEndpoint& destination, std::span<const std::byte> packet,
                       std::uint32_t mark);

}  // namespace ferry::resources
