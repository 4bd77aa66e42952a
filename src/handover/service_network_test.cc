// The network of a container as bytes, and the question who has an address.
#include "handover/service_network.h"

#include <gtest/gtest.h>
#include <linux/if_link.h>
#include <net/ethernet.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "handover/address_probe.h"
#include "handover/announcement.h"

namespace ferry::handover {
namespace {

IpAddress address(const char* text) {
    return IpAddress::parse(text).value();
}

constexpr MacAddress kMac = {2, 0, 0, 0x77, 0, 0x50};

ServiceNetwork example() {
    NetworkIdentity lo;
    lo.kind = DeviceKind::Loopback;
    lo.name = "lo";
    lo.index = 1;
    lo.mtu = 65536;
    NetworkIdentity eth0;
    eth0.kind = DeviceKind::Veth;
    eth0.name = "eth0";
    eth0.index = 7;
    eth0.mac = kMac;
    eth0.port = {.bridge = "cbr0", .name = "veth1", .settings = {{IFLA_BRPORT_ISOLATED, 1}}};
    eth0.addresses = {
        {.address = address("10.77.0.50"), .prefix_length = 24, .broadcast = {}, .peer = {}}};
    eth0.neighbours = {
        {.address = address("10.77.0.9"), .mac = {2, 0, 0, 0, 0, 9}, .permanent = true}};
    Route blackhole;
    blackhole.destination = address("10.66.0.0");
    blackhole.prefix_length = 16;
    blackhole.type = 6;
    RoutingRule rule;
    rule.source = address("10.77.0.50");
    rule.source_length = 32;
    rule.priority = 1000;
    rule.table = 100;
    rule.input = "eth0";
    return {.devices = {lo, eth0},
            .space = NetworkSpace{
                .routes = {blackhole},
                .rules = {rule},
                .settings = {{.key = "core/somaxconn", .value = "77"},
                             {.key = "ipv4/ip_local_port_range", .value = "40000\t50000"}},
                .filter = {.ruleset = {{.kind = FilterObject::Kind::Table,
                                        .family = 1,
                                        .attributes = {std::byte{0x5a}, std::byte{0xff}}}}}}};
}

TEST(NetworkCodec, GivesBackWhatItWasGiven) {
    const auto decoded = decode_network(encode_network(example()));
    ASSERT_TRUE(decoded) << decoded.error().message();
    EXPECT_EQ(*decoded, example());
}

// Exchanges one piece of the encoding, which must be there, and expects the decoder to refuse it.
void expect_refused(std::string_view from, std::string_view to) {
    std::string json = encode_network(example());
    const auto at = json.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    json.replace(at, from.size(), to);
    const auto decoded = decode_network(json);
    ASSERT_FALSE(decoded) << json;
    EXPECT_EQ(decoded.error().kind(), Error::Kind::Corrupt) << decoded.error().message();
}

TEST(NetworkCodec, RefusesHostileValues) {
    expect_refused("\"kind\":\"veth\"", "\"kind\":\"tun\"");
    expect_refused("\"bridge\":\"cbr0\"", "\"bridge\":\"../x\"");
    expect_refused("\"name\":\"veth1\"", "\"name\":7");
    expect_refused("\"name\":\"eth0\"", "\"name\":\"lo\"");
    expect_refused("\"port\":{", "\"port\":[],\"x\":{");
    expect_refused("\"index\":7", "\"index\":4294967295");
    expect_refused("\"flags\":1", "\"flags\":3");
    expect_refused("\"mtu\":1500", "\"mtu\":65536");
    expect_refused("\"type\":33", "\"type\":9999");
    expect_refused("\"permanent\":true", "\"permanent\":1");
    expect_refused("\"source\":\"10.77.0.50\"", "\"source\":\"fd77::50\"");
    expect_refused("\"source_length\":32", "\"source_length\":33");
    expect_refused("\"input\":\"eth0\"", "\"input\":\"\"");
    expect_refused("core/somaxconn", "../kernel/core_pattern");
    expect_refused("core/somaxconn", "/etc/passwd");
    expect_refused("core/somaxconn", "core/./x/../../y");
    expect_refused("\"value\":\"77\"", "\"value\":\"7\\n7\"");
    expect_refused("\"space\":{", "\"space\":[],\"x\":{");
    expect_refused("\"filter\":\"01", "\"filter\":\"00");
    expect_refused("\"filter\":\"01", "\"filter\":\"0z");
    expect_refused("\"filter\":\"01", "\"filter\":\"1");
    expect_refused("\"filter\":\"", "\"filter\":1,\"x\":\"");
}

TEST(NetworkCodec, OnlyMacvlansCanBeInTheNamespaceOfAHost) {
    auto network = example();
    network.space.reset();
    const auto decoded = decode_network(encode_network(network));
    ASSERT_FALSE(decoded);
    EXPECT_EQ(decoded.error().kind(), Error::Kind::Corrupt);
}

// The answers that hosts give, built as ours are.
TEST(AddressProbe, KnowsAnAnswerFromAQuestion) {
    const MacAddress asker = {2, 0, 0, 0, 0, 9};
    for (const char* text : {"10.77.0.50", "fd77::50"}) {
        const Claim expected = {.address = address(text), .mac = kMac};
        EXPECT_EQ(claim_in(probe_frame(asker, expected.address)), std::nullopt) << text;
        int claims = 0;
        for (const auto& frame : announcement_frames(kMac, std::array{expected.address})) {
            const auto claim = claim_in(frame);
            if (!claim) continue;
            EXPECT_EQ(*claim, expected);
            ++claims;
            for (std::size_t size = 0; size < 42; ++size) {
                EXPECT_EQ(claim_in(std::span(frame).first(size)), std::nullopt) << size;
            }
        }
        EXPECT_EQ(claims, 1) << text;
    }
}

TEST(AddressProbe, ChangesNobodysNeighbourEntry) {
    const auto frame = probe_frame({2, 0, 0, 0, 0, 9}, address("10.77.0.50"));
    ASSERT_EQ(frame.size(), 42U);
    const auto sender = std::span(frame).subspan(28, 4);
    EXPECT_TRUE(std::ranges::all_of(sender, [](std::byte b) { return b == std::byte{0}; }));
}

}  // namespace
}  // namespace ferry::handover
