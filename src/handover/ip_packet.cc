#include "handover/ip_packet.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace ferry::handover {
namespace {

constexpr std::size_t kIpv4HeaderBytes = sizeof(iphdr);
constexpr std::size_t kIpv6HeaderBytes = sizeof(ip6_hdr);
constexpr int kExtensionHeadersMax = 8;

std::uint8_t byte_at(std::span<const std::byte> bytes, std::size_t offset) {
    return std::to_integer<std::uint8_t>(bytes[offset]);
}
std::uint16_t word_at(std::span<const std::byte> bytes, std::size_t offset) {
    return static_cast<std::uint16_t>(byte_at(bytes, offset) << 8 | byte_at(bytes, offset + 1));
}
int version_of(std::span<const std::byte> bytes) {
    return byte_at(bytes, 0) >> 4;
}

// One's complement sum of big-endian words; an odd last byte is padded with zero.
std::uint64_t sum_words(std::span<const std::byte> bytes, std::uint64_t sum) {
    std::size_t i = 0;
    for (; i + 1 < bytes.size(); i += 2) sum += word_at(bytes, i);
    if (i < bytes.size()) sum += static_cast<std::uint64_t>(byte_at(bytes, i)) << 8;
    return sum;
}

// Where the transport header begins and its protocol; absent for fragments and broken headers.
struct Transport {
    std::size_t offset = 0;
    std::uint8_t protocol = 0;
};

std::optional<Transport> transport_of(std::span<const std::byte> packet) {
    if (version_of(packet) == 4) {
        constexpr std::uint16_t kFragmentMask = IP_MF | IP_OFFMASK;
        if ((word_at(packet, offsetof(iphdr, frag_off)) & kFragmentMask) != 0) return std::nullopt;
        return Transport{.offset = std::size_t{4} * (byte_at(packet, 0) & 0xf),
                         .protocol = byte_at(packet, offsetof(iphdr, protocol))};
    }
    Transport transport = {.offset = kIpv6HeaderBytes, .protocol = byte_at(packet, 6)};
    for (int i = 0; i < kExtensionHeadersMax; ++i) {
        const bool extension = transport.protocol == IPPROTO_HOPOPTS ||
                               transport.protocol == IPPROTO_ROUTING ||
                               transport.protocol == IPPROTO_DSTOPTS;
        if (!extension) return transport;
        if (transport.offset + 8 > packet.size()) return std::nullopt;
        transport.protocol = byte_at(packet, transport.offset);
        transport.offset += 8 + std::size_t{8} * byte_at(packet, transport.offset + 1);
    }
    return std::nullopt;
}

std::optional<std::size_t> checksum_offset(std::uint8_t protocol) {
    switch (protocol) {
        case IPPROTO_TCP:
            return offsetof(tcphdr, th_sum);
        case IPPROTO_UDP:
            return offsetof(udphdr, uh_sum);
        case IPPROTO_ICMPV6:
            return offsetof(icmp6_hdr, icmp6_cksum);
        default:
            return std::nullopt;
    }
}

}  // namespace

std::optional<std::size_t> ip_packet_length(std::span<const std::byte> bytes) {
    if (bytes.size() < kIpv4HeaderBytes) return std::nullopt;
    std::size_t length = 0;
    if (version_of(bytes) == 4) {
        const std::size_t header = std::size_t{4} * (byte_at(bytes, 0) & 0xf);
        length = word_at(bytes, offsetof(iphdr, tot_len));
        if (header < kIpv4HeaderBytes || length < header) return std::nullopt;
    } else if (version_of(bytes) == 6 && bytes.size() >= kIpv6HeaderBytes) {
        length = kIpv6HeaderBytes + word_at(bytes, offsetof(ip6_hdr, ip6_plen));
    } else {
        return std::nullopt;
    }
    if (length > bytes.size()) return std::nullopt;
    return length;
}

IpAddress ip_destination(std::span<const std::byte> packet) {
    IpAddress address;
    const bool v4 = version_of(packet) == 4;
    address.family = v4 ? AF_INET : AF_INET6;
    const auto raw =
        packet.subspan(v4 ? offsetof(iphdr, daddr) : offsetof(ip6_hdr, ip6_dst), address.size());
    std::memcpy(address.octets.data(), raw.data(), raw.size());
    return address;
}

bool is_of_known_connection(std::span<const std::byte> packet) {
    constexpr std::size_t kFlags = 13;  // of the TCP header
    const auto transport = transport_of(packet);
    return transport && transport->protocol == IPPROTO_TCP &&
           transport->offset + kFlags < packet.size() &&
           (byte_at(packet, transport->offset + kFlags) & TH_SYN) == 0;
}

void complete_checksum(std::span<std::byte> packet) {
    CHECK(ip_packet_length(packet).has_value());
    const auto transport = transport_of(packet);
    if (!transport) return;
    const auto field = checksum_offset(transport->protocol);
    if (!field || transport->offset + *field + 2 > packet.size()) return;
    const auto segment = packet.subspan(transport->offset);
    segment[*field] = segment[*field + 1] = std::byte{0};
    // The pseudo header: both addresses, the protocol and the length of the segment.
    const bool v4 = version_of(packet) == 4;
    const auto addresses = v4 ? packet.subspan(offsetof(iphdr, saddr), 8)
                              : packet.subspan(offsetof(ip6_hdr, ip6_src), 32);
    std::uint64_t sum = sum_words(addresses, transport->protocol + segment.size());
    sum = sum_words(segment, sum);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    auto checksum = static_cast<std::uint16_t>(~sum);
    // UDP: zero means "no checksum", so a sum of zero is sent as its other representation (RFC
    // 768).
    if (checksum == 0 && transport->protocol == IPPROTO_UDP) checksum = 0xffff;
    segment[*field] = static_cast<std::byte>(checksum >> 8);
    segment[*field + 1] = static_cast<std::byte>(checksum & 0xff);
}

}  // namespace ferry::handover
