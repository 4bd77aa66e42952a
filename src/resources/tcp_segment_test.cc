#include "resources/tcp_segment.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>

#include <cstring>

namespace ferry::resources {
namespace {

InetEndpoint endpoint(int family, const char* address, std::uint16_t port) {
    InetEndpoint result = {.family = family, .address = {}, .port = port, .scope = 0};
    EXPECT_EQ(inet_pton(family, address, &result.address), 1);
    return result;
}

// RFC 1071: the sum over everything, the checksum included, is all ones.
std::uint16_t folded_sum(std::span<const std::byte> bytes, std::uint32_t sum) {
    for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
        sum += (std::to_integer<std::uint32_t>(bytes[i]) << 8) |
               std::to_integer<std::uint32_t>(bytes[i + 1]);
    }
    while ((sum >> 16) != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

TEST(TcpSegment, ipv4_has_sound_checksums_and_fields) {
    const auto packet = build_segment({.source = endpoint(AF_INET, "192.0.2.1", 4711),
                                       .destination = endpoint(AF_INET, "198.51.100.7", 80),
                                       .sequence = 0xfffffffe,
                                       .acknowledged = 17,
                                       .fin = true});
    ASSERT_EQ(packet.size(), sizeof(iphdr) + sizeof(tcphdr));
    const std::span<const std::byte> bytes = packet;
    EXPECT_EQ(folded_sum(bytes.first(sizeof(iphdr)), 0), 0xffff);
    // The pseudo header: both addresses, the protocol, the length.
    const std::uint32_t pseudo = IPPROTO_TCP + sizeof(tcphdr);
    const std::uint32_t addresses = folded_sum(bytes.subspan(12, 8), pseudo);
    EXPECT_EQ(folded_sum(bytes.subspan(sizeof(iphdr)), addresses), 0xffff);
    tcphdr header = {};
    std::memcpy(&header, packet.data() + sizeof(iphdr), sizeof(header));
    EXPECT_EQ(ntohs(header.source), 4711);
    EXPECT_EQ(ntohl(header.seq), 0xfffffffe);
    EXPECT_EQ(ntohl(header.ack_seq), 17u);
    EXPECT_EQ(header.fin, 1);
    EXPECT_EQ(header.ack, 1);
}

TEST(TcpSegment, ipv6_has_a_sound_checksum) {
    const auto packet = build_segment({.source = endpoint(AF_INET6, "2001:db8::1", 4711),
                                       .destination = endpoint(AF_INET6, "2001:db8::2", 80),
                                       .sequence = 1,
                                       .acknowledged = 2,
                                       .fin = false});
    constexpr std::size_t kHeader = 40;
    ASSERT_EQ(packet.size(), kHeader + sizeof(tcphdr));
    const std::span<const std::byte> bytes = packet;
    const std::uint32_t addresses = folded_sum(bytes.subspan(8, 32), IPPROTO_TCP + sizeof(tcphdr));
    EXPECT_EQ(folded_sum(bytes.subspan(kHeader), addresses), 0xffff);
}

TEST(InetAddress, mapped_addresses_are_ipv4_on_the_wire) {
    const InetEndpoint wire = on_the_wire(endpoint(AF_INET6, "::ffff:192.0.2.1", 9));
    EXPECT_EQ(wire.family, AF_INET);
    EXPECT_EQ(wire.port, 9);
    const InetEndpoint same = endpoint(AF_INET, "192.0.2.1", 9);
    EXPECT_EQ(std::memcmp(&wire.address, &same.address, sizeof(in_addr)), 0);
    EXPECT_EQ(on_the_wire(endpoint(AF_INET6, "2001:db8::1", 9)).family, AF_INET6);
}

}  // namespace
}  // namespace ferry::resources
