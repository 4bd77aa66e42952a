// Rulesets and tracked connections: read in one network namespace, made in another. Needs root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include <filesystem>
#include <fstream>

#include "handover/attribute_list.h"
#include "handover/echo.h"
#include "handover/netlink.h"
#include "handover/network_lab.h"
#include "handover/nftables.h"
#include "handover/packet_filter.h"

namespace ferry::handover {
namespace {

using lab::Host;
using lab::must;
using testing::HasSubstr;
using testing::Not;

class PacketFilterTest : public testing::Test {
  protected:
    static void load_text(const Host& host, const std::string& text) {
        const std::string path = fmt::format("{}/ferry-ruleset-{}", testing::TempDir(), getpid());
        std::ofstream(path) << text;
        EXPECT_EQ(host.run("nft -f " + path), 0) << text;
        std::filesystem::remove(path);
    }
    static PacketFilter read(const Host& host) {
        const auto inside = host.enter();
        return must(read_packet_filter());
    }
    // As it crosses: encoded, decoded, loaded and asked for again.
    void cross() const {
        const auto filter = read(from_);
        const std::string bytes = encode_filter(filter);
        const auto decoded = must(decode_filter(std::as_bytes(std::span(bytes))));
        EXPECT_EQ(decoded, filter);
        const auto inside = to_.enter();
        must(load_ruleset(decoded));
        must(check_ruleset(decoded));
        must(make_connections(decoded));
    }
    static std::string listing(const Host& host) { return host.output("nft list ruleset"); }
    void expect_same_listing() const {
        EXPECT_EQ(listing(to_), listing(from_));
        EXPECT_THAT(listing(from_), HasSubstr("table"));
    }

    Host from_, to_;
};

constexpr const char* kFirewall = R"(
table inet firewall {
    counter allowed { packets 12 bytes 3456 }
    quota spent { over 1000 bytes used 1000 bytes }
    quota left { over 1 mbytes used 17 bytes }
    limit few { rate 5/second burst 7 packets }
    ct helper ftp { type "ftp" protocol tcp; }
    set friends { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.1-192.0.2.7,
        192.0.2.8 comment "next to them", 198.51.100.0/24 }; }
    set ports { type inet_service; counter; elements = { 22 counter packets 1 bytes 60, 80 }; }
    map verdicts { type inet_service : verdict; elements = { 22 : jump ssh, 80 : accept }; }
    map counters { type ipv4_addr : counter; elements = { 192.0.2.1 : "allowed" }; }
    set pairs { type ipv4_addr . inet_service; flags interval;
        elements = { 10.0.0.0/8 . 1000-2000, 192.0.2.1 . 80 }; }
    set everybody { type ipv4_addr; elements = { * }; }
    chain ssh { ip saddr @friends accept; log prefix "ssh" drop; }
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related counter packets 100 bytes 10000 accept
        ct state invalid drop
        iifname "lo" accept comment "ourselves"
        tcp dport vmap @verdicts
        tcp dport { 6379, 7000-7010 } ct state new limit rate 10/second accept
        ip saddr . tcp dport @pairs accept
        icmp type { echo-request, echo-reply } quota over 100 bytes used 50 bytes drop
        meta mark 0x7 jump { tcp dport 1 accept; counter packets 5 bytes 6; }
        counter name "allowed" quota name "spent" accept
        reject with icmpx admin-prohibited
    }
    chain output { type filter hook output priority filter; policy accept; meta mark set 0x17; }
}
table ip nat {
    chain prerouting { type nat hook prerouting priority dstnat; tcp dport 8080 redirect to :80; }
    chain postrouting { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }
}
table ip6 six { chain forward { type filter hook forward priority 10; ip6 saddr fd77::/64 drop; }; }
table arp quiet { chain input { type filter hook input priority 0; arp operation request drop; }; }
table bridge between { chain forward { type filter hook forward priority 0; }; }
table netdev early { chain in { type filter hook ingress device "lo" priority -500; drop; }; }
table inet asleep { flags dormant; chain input { type filter hook input priority 0; drop; }; }
)";

TEST_F(PacketFilterTest, ARulesetIsTheSameAgain) {
    load_text(from_, kFirewall);
    cross();
    expect_same_listing();
    EXPECT_EQ(read(to_).ruleset, read(from_).ruleset);
}

TEST_F(PacketFilterTest, AnotherOneReplacesItWhole) {
    load_text(from_, kFirewall);
    load_text(to_, "table inet firewall { chain other { }; }\ntable inet mine { }");
    cross();
    expect_same_listing();
    EXPECT_EQ(from_.run("nft flush ruleset"), 0);
    cross();
    EXPECT_EQ(listing(to_), "");
}

TEST_F(PacketFilterTest, ElementsKeepTheTimeThatTheyHaveLeft) {
    load_text(from_,
              "table inet t { set s { type ipv4_addr; timeout 1h; gc-interval 2h;\n"
              "elements = { 192.0.2.1 expires 30m, 192.0.2.2 timeout 2h expires 90m }; }\n"
              "set d { type ipv4_addr; flags dynamic,timeout; timeout 1m; }\n"
              "chain c { type filter hook input priority 0;\n"
              "add @d { ip saddr limit rate 1/second }\n}\n}");
    cross();
    EXPECT_THAT(listing(to_), testing::ContainsRegex("192.0.2.1 expires (30m|29m5)"));
    EXPECT_THAT(listing(to_),
                testing::ContainsRegex("192.0.2.2 timeout 2h expires (1h30m|1h29m5)"));
    EXPECT_THAT(listing(to_), HasSubstr("add @d { ip saddr limit rate 1/second"));
}

// What is told of a connection, but for the time that is left.
std::vector<std::vector<std::byte>> connections_of(const PacketFilter& filter) {
    std::vector<std::vector<std::byte>> all;
    for (const FilterObject& connection : filter.connections) {
        AttributeList list;
        NetlinkAttributes(connection.attributes)
            .for_each([&](std::uint16_t type, std::span<const std::byte> value) {
                if (type != CTA_TIMEOUT) list.put(type, value);
            });
        all.push_back(std::move(list).take());
    }
    std::ranges::sort(all);
    return all;
}

// Of both families, translated at both ends, marked, answered and not.
TEST_F(PacketFilterTest, TrackedConnectionsAreTheSameAgain) {
    load_text(from_,
              "table ip t {\n"
              "chain o { type nat hook output priority 0; tcp dport 8080 redirect to :80; }\n"
              "chain p { type nat hook postrouting priority 0\n"
              "tcp dport 80 snat to 127.0.0.5:4444\n}\n}\n"
              "table inet m { chain o { type filter hook output priority 0\n"
              "ct mark set 0x17\n}\n}");
    EXPECT_EQ(from_.run("ip link set lo up"), 0);
    std::vector<os::UniqueFd> open;
    {
        const auto inside = from_.enter();
        const auto listen = [&](const char* where, std::uint16_t port) {
            const auto at = lab::socket_address(lab::address(where), port);
            open.emplace_back(::socket(AF_INET6, SOCK_STREAM, 0));
            EXPECT_EQ(::bind(open.back().get(), reinterpret_cast<const sockaddr*>(&at), sizeof at),
                      0);
            EXPECT_EQ(::listen(open.back().get(), 1), 0);
        };
        const auto speak = [&](const char* to, std::uint16_t port, int type) {
            const auto at = lab::socket_address(lab::address(to), port);
            open.emplace_back(::socket(AF_INET6, type, 0));
            EXPECT_EQ(
                ::connect(open.back().get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
            EXPECT_EQ(::send(open.back().get(), "x", 1, 0), 1);
        };
        listen("127.0.0.1", 80);
        listen("::1", 81);
        speak("127.0.0.1", 8080, SOCK_STREAM);
        speak("::1", 81, SOCK_STREAM);
        speak("::1", 82, SOCK_DGRAM);
    }
    EXPECT_EQ(connections_of(read(from_)).size(), 3U);
    cross();
    EXPECT_EQ(connections_of(read(to_)), connections_of(read(from_)));
    const auto told = to_.output("cat /proc/net/nf_conntrack");
    EXPECT_THAT(told, testing::ContainsRegex("ESTABLISHED src=127.0.0.1 .*dport=8080 "
                                             "src=127.0.0.1 dst=127.0.0.5 sport=80 dport=4444 "
                                             ".ASSURED. mark=23"));
}

// iptables of today puts its own matches and targets into nftables' rules.
TEST_F(PacketFilterTest, RulesOfIptablesAreTheSameAgain) {
    for (const char* rule :
         {"iptables-nft -A INPUT -p tcp --syn -m connlimit --connlimit-above 5 "
          "-j REJECT --reject-with tcp-reset",
          "iptables-nft -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN "
          "-j TCPMSS --clamp-mss-to-pmtu",
          "iptables-nft -A INPUT -p udp --dport 53 -m string --algo bm --string x -j DROP",
          "iptables-nft -A INPUT ! -p icmp -m addrtype --dst-type LOCAL -j ACCEPT",
          "iptables-nft -P INPUT DROP -c 17 1700",
          "ip6tables-nft -t nat -A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 80"}) {
        EXPECT_EQ(from_.run(rule), 0) << rule;
    }
    const auto saved = [](const Host& host) {
        return host.output("(iptables-nft-save -c; ip6tables-nft-save -c) | grep -v '^#'");
    };
    const std::string before = saved(from_);
    EXPECT_THAT(before, HasSubstr("connlimit"));
    cross();
    EXPECT_EQ(saved(to_), before);
}

TEST_F(PacketFilterTest, LargeSetsCrossInSeveralMessages) {
    constexpr int kElements = 20'000;
    std::string text = "table inet t { set s { type ipv4_addr . inet_service; elements = { ";
    std::string intervals = "set i { type ipv4_addr; flags interval; elements = { ";
    for (int i = 0; i < kElements; ++i) {
        text += fmt::format("10.1.{}.{} . {},", i / 256, i % 256, 1 + i % 60'000);
        intervals += fmt::format("10.{}.{}.0-10.{}.{}.99,", i / 256, i % 256, i / 256, i % 256);
    }
    load_text(from_, text + " }; }\n" + intervals + " }; }; }");
    cross();
    expect_same_listing();
}

TEST_F(PacketFilterTest, WhatFerryNeedsForAMoveIsNotCarried) {
    load_text(from_, "table inet ferry_hold_1_2 { }\ntable netdev ferry_mute_eth0 { }");
    EXPECT_TRUE(read(from_).empty());
    load_text(to_, "table inet ferry_hold_1_2 { }");
    load_text(from_, "table inet mine { }");
    cross();
    EXPECT_THAT(listing(to_), HasSubstr("ferry_hold_1_2"));
    EXPECT_THAT(listing(to_), HasSubstr("mine"));
}

TEST_F(PacketFilterTest, ATableOfAProgramIsRefusedByName) {
    const auto inside = from_.enter();
    auto netlink = must(NetlinkSocket::open(NETLINK_NETFILTER));
    NftBatch batch;
    constexpr std::uint8_t kInet = 1;  // NFPROTO_INET
    batch.add_table({.family = kInet, .name = "held"}, NftOwner::Yes);
    must(netlink.request(batch.finish(), "make a table"));
    const auto refused = read_packet_filter();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind(), Error::Kind::Unsupported);
    EXPECT_THAT(refused.error().message(), HasSubstr("table inet held"));
}

// Whose packets were more than it allows: some kernels tell more than others take.
TEST_F(PacketFilterTest, AQuotaThatIsUsedUpStaysUsedUp) {
    load_text(from_,
              "table inet t { quota named { over 100 bytes }\n"
              "chain c { type filter hook output priority 0\n"
              "ip protocol icmp quota name named counter packets 0 bytes 0\n"
              "ip protocol icmp quota over 90 bytes counter packets 0 bytes 0\n}\n}");
    EXPECT_EQ(from_.run("ip link set lo up && ping -c2 127.0.0.1 >/dev/null"), 0);
    EXPECT_THAT(listing(from_), testing::ContainsRegex("over 100 bytes used (100|336) bytes"));
    cross();
    EXPECT_THAT(listing(to_), HasSubstr("over 100 bytes used 100 bytes"));
    EXPECT_THAT(listing(to_), HasSubstr("over 90 bytes used 90 bytes"));
}

TEST_F(PacketFilterTest, WhatTheKernelDoesNotTakeIsNamedAndNothingIsChanged) {
    load_text(from_,
              "table ip x { chain c { type filter hook input priority 0; }; }\n"
              "table ip y { chain d { type filter hook input priority 0; }; }");
    auto filter = read(from_);
    load_text(to_, "table inet mine { chain c { }; }");
    const std::string before = listing(to_);
    FilterObject& last = filter.ruleset.back();
    const auto type = std::ranges::search(last.attributes, std::as_bytes(std::span("filter")));
    ASSERT_FALSE(type.empty());
    type.front() = std::byte{'z'};
    const auto inside = to_.enter();
    const auto refused = load_ruleset(filter);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind(), Error::Kind::Unsupported);
    EXPECT_THAT(refused.error().message(), HasSubstr("chain d in table ip y"));
    EXPECT_EQ(listing(to_), before);
}

TEST_F(PacketFilterTest, ARulesetThatTheKernelTellsOtherwiseIsNoticed) {
    load_text(from_, "table ip t { chain c { counter packets 1 bytes 2 accept; }; }");
    const auto filter = read(from_);
    load_text(to_, "table ip t { chain c { counter packets 1 bytes 2 drop; }; }");
    const auto inside = to_.enter();
    const auto noticed = check_ruleset(filter);
    ASSERT_FALSE(noticed);
    EXPECT_EQ(noticed.error().kind(), Error::Kind::Unsupported);
}

}  // namespace
}  // namespace ferry::handover
