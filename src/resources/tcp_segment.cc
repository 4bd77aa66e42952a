#include "resources/tcp_segment.h"

#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstring>
#include <span>

#include "os/socket.h"

namespace ferry::resources {
namespace {

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

std::size_t address_size(int family) {
    return family == AF_INET ? sizeof(in_addr) : sizeof(in6_addr);
}

tcphdr tcp_header(const TcpSegment& segment) {
    tcphdr header = {};
    header.source = htons(segment.source.port);
    header.dest = htons(segment.destination.port);
    header.seq = htonl(segment.sequence);
    header.ack_seq = htonl(segment.acknowledged);
    header.doff = sizeof(tcphdr) / 4;
    header.ack = 1;
    header.fin = segment.fin ? 1 : 0;
    // The window is scaled on arrival; the next real segment of the peer corrects it.
    header.window = htons(0xffff);

    const auto* source = reinterpret_cast<const std::byte*>(&segment.source.address);
    const auto* destination = reinterpret_cast<const std::byte*>(&segment.destination.address);
    const std::size_t size = address_size(segment.source.family);
    std::uint32_t sum = IPPROTO_TCP + sizeof(tcphdr);
    sum = checksum_part({source, size}, sum);
    sum = checksum_part({destination, size}, sum);
    sum = checksum_part(std::as_bytes(std::span(&header, 1)), sum);
    header.check = htons(checksum_end(sum));
    return header;
}

constexpr std::uint8_t kHopLimit = 64;

void append_ipv4(std::vector<std::byte>& packet, const TcpSegment& segment) {
    iphdr header = {};
    header.version = 4;
    header.ihl = sizeof(iphdr) / 4;
    header.tot_len = htons(sizeof(iphdr) + sizeof(tcphdr));
    header.ttl = kHopLimit;
    header.protocol = IPPROTO_TCP;
    std::memcpy(&header.saddr, &segment.source.address, sizeof(header.saddr));
    std::memcpy(&header.daddr, &segment.destination.address, sizeof(header.daddr));
    header.check = htons(checksum_end(checksum_part(std::as_bytes(std::span(&header, 1)), 0)));
    append(packet, header);
}

void append_ipv6(std::vector<std::byte>& packet, const TcpSegment& segment) {
    ip6_hdr header = {};
    header.ip6_vfc = 6 << 4;
    header.ip6_plen = htons(sizeof(tcphdr));
    header.ip6_nxt = IPPROTO_TCP;
    header.ip6_hlim = kHopLimit;
    header.ip6_src = segment.source.address;
    header.ip6_dst = segment.destination.address;
    append(packet, header);
}

}  // namespace

std::vector<std::byte> build_segment(const TcpSegment& segment) {
    std::vector<std::byte> packet;
    if (segment.source.family == AF_INET) {
        append_ipv4(packet, segment);
    } else {
        append_ipv6(packet, segment);
    }
    append(packet, tcp_header(segment));
    return packet;
}

Result<> inject_segment(const TcpSegment& segment, std::uint32_t mark) {
    // IPPROTO_RAW: the IP header is ours, for both families (raw(7), the kernel's net/ipv6/raw.c).
    const os::UniqueFd raw = TRY(os::socket(segment.source.family, SOCK_RAW, IPPROTO_RAW));
    TRY(os::setsockopt(raw.get(), SOL_SOCKET, SO_MARK, mark));
    InetEndpoint to = segment.destination;
    to.port = 0;  // meaningless for raw sockets, and IPv6 insists on a protocol number or zero
    const os::SocketAddress address = to_address(to);
    TRY(with_context(os::sendto(raw.get(), build_segment(segment), 0, &address),
                     "a segment for a half-closed connection"));
    return {};
}

}  // namespace ferry::resources
