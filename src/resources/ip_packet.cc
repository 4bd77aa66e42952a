#include "resources/ip_packet.h"

#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <cstring>

#include "os/socket.h"

namespace ferry::resources {
namespace {

constexpr std::uint8_t kHopLimit = 64;

template <class T>
void append(std::vector<std::byte>& packet, const T& header) {
    const auto bytes = std::as_bytes(std::span(&header, 1));
    packet.insert(packet.end(), bytes.begin(), bytes.end());
}

// RFC 1071, over bytes in network order; an odd last byte is padded with zero.
std::uint32_t checksum_part(std::span<const std::byte> bytes, std::uint32_t sum) {
    for (std::size_t i = 0; i < bytes.size(); i += 2) {
        const auto high = std::to_integer<std::uint32_t>(bytes[i]) << 8;
        const auto low = i + 1 < bytes.size() ? std::to_integer<std::uint32_t>(bytes[i + 1]) : 0u;
        sum += high | low;
    }
    return sum;
}

std::uint16_t checksum_end(std::uint32_t sum) {
    while ((sum >> 16) != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

std::span<const std::byte> address_bytes(const InetEndpoint& endpoint) {
    const std::size_t size = endpoint.family == AF_INET ? sizeof(in_addr) : sizeof(in6_addr);
    return std::as_bytes(std::span(&endpoint.address, 1)).first(size);
}

void append_ipv4(std::vector<std::byte>& packet, const PacketEnds& ends, std::uint8_t protocol,
                 std::size_t size) {
    iphdr header = {};
    header.version = 4;
    header.ihl = sizeof(iphdr) / 4;
    header.tot_len = htons(static_cast<std::uint16_t>(sizeof(iphdr) + size));
    header.ttl = kHopLimit;
    header.protocol = protocol;
    std::memcpy(&header.saddr, &ends.source.address, sizeof(header.saddr));
    std::memcpy(&header.daddr, &ends.destination.address, sizeof(header.daddr));
    header.check = htons(checksum_end(checksum_part(std::as_bytes(std::span(&header, 1)), 0)));
    append(packet, header);
}

void append_ipv6(std::vector<std::byte>& packet, const PacketEnds& ends, std::uint8_t protocol,
                 std::size_t size) {
    ip6_hdr header = {};
    header.ip6_vfc = 6 << 4;
    header.ip6_plen = htons(static_cast<std::uint16_t>(size));
    header.ip6_nxt = protocol;
    header.ip6_hlim = kHopLimit;
    header.ip6_src = ends.source.address;
    header.ip6_dst = ends.destination.address;
    append(packet, header);
}

}  // namespace

std::uint16_t transport_checksum(const PacketEnds& ends, std::uint8_t protocol,
                                 std::span<const std::byte> segment) {
    std::uint32_t sum = protocol + static_cast<std::uint32_t>(segment.size());
    sum = checksum_part(address_bytes(ends.source), sum);
    sum = checksum_part(address_bytes(ends.destination), sum);
    return checksum_end(checksum_part(segment, sum));
}

std::vector<std::byte> build_packet(const PacketEnds& ends, std::uint8_t protocol,
                                    std::span<const std::byte> segment) {
    std::vector<std::byte> packet;
    if (ends.source.family == AF_INET) {
        append_ipv4(packet, ends, protocol, segment.size());
    } else {
        append_ipv6(packet, ends, protocol, segment.size());
    }
    packet.insert(packet.end(), segment.begin(), segment.end());
    return packet;
}

std::vector<std::byte> build_datagram(const PacketEnds& ends, std::span<const std::byte> content) {
    udphdr header = {};
    header.source = htons(ends.source.port);
    header.dest = htons(ends.destination.port);
    header.len = htons(static_cast<std::uint16_t>(sizeof(header) + content.size()));
    std::vector<std::byte> segment;
    append(segment, header);
    segment.insert(segment.end(), content.begin(), content.end());
    const std::uint16_t sum = transport_checksum(ends, IPPROTO_UDP, segment);
    // Zero would mean that there is none (RFC 768).
    header.check = htons(sum == 0 ? 0xffff : sum);
    std::memcpy(segment.data(), &header, sizeof(header));
    return build_packet(ends, IPPROTO_UDP, segment);
}

Result<> inject_packet(const InetEndpoint& destination, std::span<const std::byte> packet,
                       std::uint32_t mark) {
    // IPPROTO_RAW: the IP header is ours, for both families (raw(7), the kernel's net/ipv6/raw.c).
    const os::UniqueFd raw = TRY(os::socket(destination.family, SOCK_RAW, IPPROTO_RAW));
    TRY(os::setsockopt(raw.get(), SOL_SOCKET, SO_MARK, mark));
    InetEndpoint to = destination;
    to.port = 0;  // meaningless for raw sockets, and IPv6 insists on a protocol number or zero
    const os::SocketAddress address = to_address(to);
    TRY(os::sendto(raw.get(), packet, 0, &address));
    return {};
}

}  // namespace ferry::resources
