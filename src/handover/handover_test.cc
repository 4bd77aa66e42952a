#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/ip.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "handover/announcement.h"
#include "handover/ip_packet.h"
#include "handover/packet_capture.h"
#include "handover/service_network.h"

namespace ferry::handover {
namespace {

using testing::HasSubstr;

std::vector<std::byte> bytes_of(std::string_view hex) {
    std::vector<std::byte> bytes;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
        bytes.push_back(
            static_cast<std::byte>(std::stoul(std::string(hex.substr(i, 2)), nullptr, 16)));
    }
    return bytes;
}

IpAddress address(const char* text) {
    return IpAddress::parse(text).value();
}

NetworkIdentity example() {
    NetworkIdentity identity;
    identity.name = "svc0";
    identity.parent = "eth0";
    identity.macvlan_mode = 4;
    identity.mac = {2, 0, 0, 0x77, 0, 1};
    identity.addresses = {
        {.address = address("10.77.0.100"),
         .prefix_length = 24,
         .broadcast = address("10.77.0.255"),
         .peer = {}},
        {.address = address("fd77::100"), .prefix_length = 64, .broadcast = {}, .peer = {}}};
    Route route;
    route.destination = address("10.99.0.0");
    route.prefix_length = 16;
    route.gateway = address("10.77.0.9");
    route.priority = 7;
    route.metrics = {{2, 1400}};
    identity.routes = {route};
    identity.neighbours = {{.address = address("10.77.0.9"), .mac = {2, 0, 0, 0, 0, 9}}};
    identity.settings = {{.key = "ipv4/rp_filter", .value = "2"}};
    return identity;
}

TEST(IpAddress, KnowsTheAddressesThatNobodyElseCanReach) {
    EXPECT_TRUE(address("127.1.2.3").is_loopback());
    EXPECT_TRUE(address("::1").is_loopback());
    EXPECT_FALSE(address("10.0.0.1").is_loopback());
    EXPECT_TRUE(address("0.0.0.0").is_wildcard());
    EXPECT_TRUE(address("::").is_wildcard());
    EXPECT_TRUE(address("fe80::1").is_link_local());
    EXPECT_FALSE(IpAddress::parse("10.0.0.256"));
}

TEST(IpAddress, OfAMappedSocketIsTheIPv4AddressOfItsPackets) {
    in6_addr mapped = {};
    ASSERT_EQ(::inet_pton(AF_INET6, "::ffff:10.1.2.3", &mapped), 1);
    EXPECT_EQ(IpAddress::from_socket(AF_INET6, mapped), address("10.1.2.3"));
    EXPECT_EQ(IpAddress::from_bytes(mapped.s6_addr).value(), address("10.1.2.3"));
    const std::uint8_t three[3] = {};
    EXPECT_FALSE(IpAddress::from_bytes(three));
}

TEST(IdentityCodec, GivesBackWhatItWasGiven) {
    const ServiceNetwork network = {.devices = {example()}, .space = {}};
    const auto decoded = decode_network(encode_network(network));
    ASSERT_TRUE(decoded) << decoded.error().message();
    EXPECT_EQ(*decoded, network);
}

// Exchanges one piece of the encoding, which must be there, and expects the decoder to refuse it.
void expect_refused(std::string_view from, std::string_view to) {
    std::string json = encode_network({.devices = {example()}, .space = {}});
    const auto at = json.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    json.replace(at, from.size(), to);
    const auto decoded = decode_network(json);
    ASSERT_FALSE(decoded) << json;
    EXPECT_EQ(decoded.error().kind(), Error::Kind::Corrupt) << decoded.error().message();
}

TEST(IdentityCodec, RefusesHostileValues) {
    expect_refused("\"version\":3", "\"version\":2");
    expect_refused("\"svc0\"", "\"../../etc\"");
    expect_refused("\"svc0\"", "\"a name that is too long\"");
    expect_refused("\"svc0\"", "{}");
    expect_refused("\"02:00:00:77:00:01\"", "\"03:00:00:77:00:01\"");
    expect_refused("\"02:00:00:77:00:01\"", "\"02:00:00:77:00:0g\"");
    expect_refused("\"mtu\":1500", "\"mtu\":1");
    expect_refused("\"macvlan_mode\":4", "\"macvlan_mode\":3");
    expect_refused("\"prefix_length\":24", "\"prefix_length\":33");
    expect_refused("\"10.77.0.100\"", "\"10.77.0\"");
    expect_refused("\"gateway\":\"10.77.0.9\"", "\"gateway\":\"fd77::9\"");
    expect_refused("ipv4/rp_filter", "ipv4/../../../kernel/core_pattern");
    expect_refused("\"value\":\"2\"", "\"value\":\"|/bin/sh\"");
    expect_refused("\"routes\":[", "\"routes\":[[[[[[");
}

TEST(IdentityCodec, RefusesWhatIsNoJson) {
    for (const char* text : {"", "{", "[]", "null", "{\"version\":3}", "\xff\xfe"}) {
        EXPECT_FALSE(decode_network(text)) << text;
    }
}

TEST(IpPacket, OnlyWholePacketsHaveALength) {
    // An ICMP echo request of 28 bytes.
    auto packet = bytes_of("4500001c00010000400166df0a0000010a00000208004c1f00010001");
    packet[3] = std::byte{28};
    EXPECT_EQ(ip_packet_length(packet), 28U);
    packet.resize(60);
    EXPECT_EQ(ip_packet_length(packet), 28U) << "padding is not part of it";
    packet.resize(27);
    EXPECT_EQ(ip_packet_length(packet), std::nullopt);
    packet[0] = std::byte{0x41};
    EXPECT_EQ(ip_packet_length(packet), std::nullopt) << "a header of four bytes";
    EXPECT_EQ(ip_packet_length({}), std::nullopt);
}

TEST(IpPacket, ATcpChecksumIsCompleted) {
    // 10.0.0.1:4660 -> 10.0.0.2:80, SYN, sequence 1, window 8192, no options.
    auto packet = bytes_of(
        "450000280000400040060000"
        "0a0000010a000002"
        "12340050000000010000000050022000deadbeef");
    packet.resize(40);
    packet[38] = packet[39] = std::byte{0};  // urgent pointer
    complete_checksum(packet);
    // Computed by hand: the one's complement of the sum of the pseudo header and the segment.
    std::uint32_t sum =
        0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 6 + 20 + 0x1234 + 0x0050 + 1 + 0x5002 + 0x2000;
    sum = (sum & 0xffff) + (sum >> 16);
    const auto expected = static_cast<std::uint16_t>(~sum);
    EXPECT_EQ(std::to_integer<unsigned>(packet[36]) << 8 | std::to_integer<unsigned>(packet[37]),
              expected);
}

TEST(IpPacket, AFragmentKeepsItsBytes) {
    auto packet = bytes_of(
        "450000282000200040060000"
        "0a0000010a000002"
        "12340050000000010000000050022000");
    packet.resize(40);
    const auto before = packet;
    complete_checksum(packet);
    EXPECT_EQ(packet, before);
}

TEST(Announcement, SaysRequestAndReplyForIPv4AndAdvertisesIPv6) {
    const std::array addresses = {address("10.77.0.100"), address("fd77::100")};
    const auto frames = announcement_frames({2, 0, 0, 0x77, 0, 1}, addresses);
    ASSERT_EQ(frames.size(), 4U);
    EXPECT_EQ(frames[0], bytes_of("ffffffffffff"
                                  "020000770001"
                                  "0806"
                                  "0001080006040001"
                                  "020000770001"
                                  "0a4d0064"
                                  "000000000000"
                                  "0a4d0064"));
    EXPECT_EQ(frames[1], bytes_of("ffffffffffff"
                                  "020000770001"
                                  "0806"
                                  "0001080006040002"
                                  "020000770001"
                                  "0a4d0064"
                                  "ffffffffffff"
                                  "0a4d0064"));
    EXPECT_EQ(frames[2].size(), 14U + 40 + 24 + 8);
    EXPECT_EQ(std::vector(frames[2].begin(), frames[2].begin() + 14), bytes_of("333300000001"
                                                                               "020000770001"
                                                                               "86dd"));
    // The report: its group is ff02::1:ff00:100.
    EXPECT_EQ(frames[3].size(), 14U + 40 + 8 + 8 + 20);
    EXPECT_EQ(std::vector(frames[3].end() - 20, frames[3].end()),
              bytes_of("04000000"
                       "ff0200000000000000000001ff000100"));
}

// Runs a capture filter over a packet, as the kernel would: only what capture_filter emits.
bool accepts(const std::vector<sock_filter>& program, std::span<const std::byte> packet,
             std::uint32_t protocol, std::uint32_t type = 0, std::uint32_t mark = 0) {
    std::uint32_t a = 0, x = 0;
    const auto load = [&](std::uint32_t at, int size) {
        if (at == static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_PROTOCOL)) return protocol;
        if (at == static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_PKTTYPE)) return type;
        if (at == static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_MARK)) return mark;
        std::uint32_t value = 0;
        for (int i = 0; i < size; ++i) {
            const std::size_t index = at + static_cast<std::size_t>(i);
            value =
                value << 8 | (index < packet.size() ? std::to_integer<unsigned>(packet[index]) : 0);
        }
        return value;
    };
    for (std::size_t i = 0; i < program.size(); ++i) {
        const auto& op = program[i];
        switch (op.code) {
            case BPF_LD | BPF_W | BPF_ABS:
                a = load(op.k, 4);
                break;
            case BPF_LD | BPF_H | BPF_ABS:
                a = load(op.k, 2);
                break;
            case BPF_LD | BPF_B | BPF_ABS:
                a = load(op.k, 1);
                break;
            case BPF_LD | BPF_H | BPF_IND:
                a = load(x + op.k, 2);
                break;
            case BPF_LD | BPF_B | BPF_IND:
                a = load(x + op.k, 1);
                break;
            case BPF_LDX | BPF_B | BPF_MSH:
                x = 4 * (load(op.k, 1) & 0xf);
                break;
            case BPF_LDX | BPF_W | BPF_IMM:
                x = op.k;
                break;
            case BPF_ALU | BPF_AND | BPF_K:
                a &= op.k;
                break;
            case BPF_JMP | BPF_JEQ | BPF_K:
                i += a == op.k ? op.jt : op.jf;
                break;
            case BPF_RET | BPF_K:
                return op.k != 0;
            default:
                ADD_FAILURE() << "operation " << op.code;
                return false;
        }
    }
    ADD_FAILURE() << "the program has no end";
    return false;
}

TEST(CaptureFilter, AcceptsWhatIsForTheTargets) {
    constexpr std::uint32_t kIpv4 = 0x0800;
    // TCP to 10.0.0.2 port 80, SYN.
    auto packet = bytes_of(
        "450000280000400040060000"
        "0a0000010a000002"
        "12340050000000010000000050022000");
    packet.resize(40);
    const HoldTarget other = {.address = address("10.0.0.3")};
    const HoldTarget whole = {.address = address("10.0.0.2")};
    const HoldTarget port = {.address = address("10.0.0.2"), .port = 80};
    const HoldTarget other_port = {.address = address("10.0.0.2"), .port = 81};
    using enum CaptureScope;
    const auto with = [&](std::vector<HoldTarget> targets, CaptureScope scope,
                          std::uint32_t type = 0) {
        return accepts(capture_filter(targets, scope), packet, kIpv4, type);
    };
    EXPECT_FALSE(with({other}, Everything));
    EXPECT_TRUE(with({other, whole}, Everything));
    EXPECT_TRUE(with({port}, Everything));
    EXPECT_FALSE(with({other_port}, Everything));
    EXPECT_TRUE(with({other_port, port}, NewConnections));
    EXPECT_FALSE(with({whole}, Everything, 3)) << "for another host (PACKET_OTHERHOST)";
    EXPECT_FALSE(with({whole}, Everything, 4)) << "sent by us (PACKET_OUTGOING)";
    EXPECT_FALSE(
        accepts(capture_filter(std::array{whole}, Everything), packet, kIpv4, 0, kReplayMark))
        << "replayed";
    packet[33] = std::byte{0x10};  // ACK
    EXPECT_TRUE(with({whole}, Everything));
    EXPECT_TRUE(with({whole}, Tcp));
    EXPECT_FALSE(with({whole}, NewConnections));
    packet[33] = std::byte{0x02};
    packet[7] = std::byte{1};  // a later fragment
    EXPECT_FALSE(with({whole}, NewConnections));
    EXPECT_TRUE(with({whole}, Tcp));
    EXPECT_TRUE(with({whole}, Everything));
    packet[9] = std::byte{17};  // UDP
    EXPECT_FALSE(with({whole}, Tcp));
    EXPECT_TRUE(with({whole}, Everything));
}

TEST(CaptureFilter, StaysWithinTheKernelsLimit) {
    std::vector<HoldTarget> targets;
    constexpr std::size_t kMost = 200;
    for (std::size_t i = 0; i < kMost; ++i) {
        targets.push_back({.address = address("fd77::1"), .port = 80});
    }
    EXPECT_LE(capture_filter(targets, CaptureScope::NewConnections).size(), BPF_MAXINSNS);
}

}  // namespace
}  // namespace ferry::handover
