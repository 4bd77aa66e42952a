// A container's network namespace: read, made again elsewhere, refused by name. Needs root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "handover/echo.h"
#include "handover/network_hold.h"
#include "handover/network_lab.h"
#include "handover/network_move.h"

namespace ferry::handover {
namespace {

using lab::address;
using lab::ContainerNetwork;
using lab::eventually;
using lab::must;
using lab::Victim;
using testing::HasSubstr;

Result<ServiceNetwork> read(const ContainerNetwork& net) {
    const auto inside = net.a.enter();
    return read_network(net.container.space());
}

ArrivingNetwork arrive(const ContainerNetwork& net, const ServiceNetwork& network) {
    const auto inside = net.b.enter();
    return must(ArrivingNetwork::prepare(network, net.other.space(), {}));
}

std::vector<HoldTarget> targets_of(const ServiceNetwork& network) {
    std::vector<HoldTarget> targets;
    for (const IpAddress& one : network.ip_addresses()) targets.push_back({.address = one});
    return targets;
}

// Without what is not part of the identity: who has been talked to, and the name of the other end.
ServiceNetwork comparable(ServiceNetwork network) {
    for (NetworkIdentity& device : network.devices) {
        std::erase_if(device.neighbours, [](const Neighbour& n) { return !n.permanent; });
        device.port.name.clear();
    }
    return network;
}

const NetworkIdentity& device_of(const ServiceNetwork& network, const std::string& name) {
    const auto found = std::ranges::find(network.devices, name, &NetworkIdentity::name);
    EXPECT_NE(found, network.devices.end());
    return *found;
}

std::optional<std::string> setting_of(const ServiceNetwork& network, const std::string& key) {
    const auto found = std::ranges::find(network.space->settings, key, &Setting::key);
    return found == network.space->settings.end() ? std::nullopt : std::optional(found->value);
}

// Something of everything that moves.
void furnish(const ContainerNetwork& net) {
    EXPECT_EQ(net.container.run(
                  "ip addr add 10.200.0.1/32 dev lo && "
                  "ip addr add 10.77.0.52/24 dev eth0 && ip addr add 10.77.0.51/24 dev eth0 && "
                  "ip addr add fd77::52/64 dev eth0 nodad && "
                  "ip addr add fd77::51/64 dev eth0 nodad && "
                  "ip addr add 10.78.0.50/24 metric 77 dev eth0 && "
                  "ip route add default via 10.77.0.9 && "
                  "ip route add 10.99.0.0/16 via 10.77.0.9 table 100 metric 7 mtu 1300 && "
                  "ip route add blackhole 10.66.0.0/16 && "
                  "ip route add local 10.55.0.0/16 dev lo && "
                  "ip -6 route add default via fd77::9 && "
                  "ip -6 route add blackhole fd66::/16 && "
                  "ip rule add from 10.77.0.50 fwmark 0x7/0xff lookup 100 priority 1000 && "
                  "ip -6 rule add iif eth0 to fd99::/16 prohibit priority 1001 && "
                  "ip rule del priority 32767 && "
                  "ip neigh add 10.77.0.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent && "
                  "ip link set eth0 txqueuelen 123 && "
                  "cd /proc/sys/net && echo 77 > core/somaxconn && "
                  "echo 80 > ipv4/ip_unprivileged_port_start && "
                  "echo 40000 50000 > ipv4/ip_local_port_range && "
                  "echo 1 > ipv4/ip_forward && echo 2 > ipv4/conf/eth0/rp_filter && "
                  "echo 77 > ipv6/conf/eth0/hop_limit && "
                  "echo 1234 > ipv4/neigh/eth0/base_reachable_time_ms"),
              0);
    EXPECT_EQ(net.container.run("nft add table inet wall && nft add set inet wall friends "
                                "'{ type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 }; }' && "
                                "nft add chain inet wall in '{ type filter hook input priority 0; "
                                "policy drop; }' && nft add rule inet wall in accept && "
                                "nft add table netdev early && nft add chain netdev early in "
                                "'{ type filter hook ingress device eth0 priority 0; }' && "
                                "nft add rule netdev early in ip saddr 192.0.2.9 drop"),
              0);
    EXPECT_EQ(net.a.run("ip link set ctr77 type bridge_slave hairpin on isolated on learning on"),
              0);
}

TEST(NetworkSpace, IsReadWhole) {
    const ContainerNetwork net;
    furnish(net);
    const auto network = must(read(net));
    ASSERT_EQ(network.devices.size(), 2U);
    const auto& eth0 = device_of(network, "eth0");
    EXPECT_EQ(eth0.kind, DeviceKind::Veth);
    EXPECT_EQ(eth0.port.bridge, "cbr0");
    EXPECT_EQ(eth0.port.name, "ctr77");
    EXPECT_EQ(to_string(eth0.mac), ContainerNetwork::kContainerMac);
    EXPECT_EQ(eth0.mtu, 1400U);
    EXPECT_EQ(eth0.port.mtu, 1500U) << "the bridge takes the smallest of its ports";
    EXPECT_EQ(eth0.transmit_queue_length, 123U);
    EXPECT_EQ(eth0.addresses.size(), 8U) << "4 of IPv4, 3 of IPv6 and the link-local one";
    EXPECT_EQ(eth0.routes.size(), 3U);
    EXPECT_EQ(device_of(network, "lo").addresses.size(), 3U);
    EXPECT_EQ(network.space->routes.size(), 1U) << "IPv6 has its blackholes on lo";
    EXPECT_EQ(network.space->rules.size(), 6U);
    EXPECT_EQ(setting_of(network, "core/somaxconn"), "77");
    EXPECT_EQ(setting_of(network, "ipv4/conf/eth0/rp_filter"), "2");
    EXPECT_EQ(must(decode_network(encode_network(network))), network);
    EXPECT_EQ(network.ip_addresses().size(), 9U) << "without 127.0.0.1 and ::1";
}

TEST(NetworkSpace, IsMadeAgainAsItWas) {
    const ContainerNetwork net;
    furnish(net);
    const auto network = must(read(net));
    const auto original = must(decode_network(encode_network(network)));
    EXPECT_EQ(net.a.run("ip link del ctr77"), 0);
    auto arriving = arrive(net, original);
    must(arriving.activate());
    must(arriving.announce());
    must(arriving.keep());
    const auto inside = net.b.enter();
    const auto made = must(read_network(net.other.space()));
    EXPECT_EQ(encode_network(comparable(made)), encode_network(comparable(network)));
    EXPECT_EQ(net.client.run("ping -c1 -W1 10.77.0.50 >/dev/null"), 0);
    EXPECT_EQ(net.client.run("ping -c1 -W1 fd77::50 >/dev/null"), 0);
    EXPECT_EQ(net.other.output("nft list ruleset"), net.container.output("nft list ruleset"));
    EXPECT_THAT(net.b.output("ip -d link show ctr77"), HasSubstr("hairpin on"));
}

TEST(NetworkSpace, WhatCannotBeCarriedIsRefusedByName) {
    const ContainerNetwork net;
    const auto refused = [&](const lab::Host& where, const std::string& set_up,
                             const std::string& undo, const std::string& text) {
        EXPECT_EQ(where.run(set_up), 0) << set_up;
        const auto result = read(net);
        ASSERT_FALSE(result) << set_up;
        EXPECT_EQ(result.error().kind(), Error::Kind::Unsupported) << result.error().message();
        EXPECT_THAT(result.error().message(), HasSubstr(text));
        EXPECT_EQ(where.run(undo), 0) << undo;
    };
    refused(net.container, "ip link add br7 type bridge", "ip link del br7", "br7");
    refused(net.container, "tc qdisc add dev eth0 root pfifo limit 10",
            "tc qdisc del dev eth0 root", "pfifo");
    refused(net.container, "ip route add 10.98.0.0/16 nexthop via 10.77.0.9 nexthop via 10.77.0.8",
            "ip route del 10.98.0.0/16", "several next hops");
    refused(net.container, "ip rule add ipproto tcp lookup 100 priority 5",
            "ip rule del priority 5", "routing rule 5");
    refused(net.a, "tc qdisc add dev ctr77 root pfifo limit 10", "tc qdisc del dev ctr77 root",
            "pfifo");
    refused(net.a, "bridge fdb add 02:00:00:77:00:52 dev ctr77 master static",
            "bridge fdb del 02:00:00:77:00:52 dev ctr77 master", "static forwarding entries");
    refused(net.a, "ip link set ctr77 nomaster", "ip link set ctr77 master cbr0",
            "not a port of a bridge");
    EXPECT_TRUE(read(net));
}

TEST(NetworkSpace, ADestinationThatCannotTakeItSaysWhy) {
    const ContainerNetwork net;
    const auto network = must(read(net));
    const auto inside = net.b.enter();
    const auto refused = [&](const Placement& placement, const std::string& text) {
        const auto result = ArrivingNetwork::check(network, placement);
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().kind(), Error::Kind::Unsupported) << result.error().message();
        EXPECT_THAT(result.error().message(), HasSubstr(text));
    };
    must(ArrivingNetwork::check(network, {}));
    refused({.uplink = {}, .bridge = "cbr9"}, "no bridge cbr9 here");
    EXPECT_EQ(net.b.run("ip link add cbr9 type bridge"), 0);
    refused({.uplink = {}, .bridge = "cbr9"}, "bridge cbr9 is down");
    refused({.uplink = {}, .bridge = "eth0"}, "no bridge eth0 here");
    EXPECT_EQ(net.b.run("ip addr add 10.77.0.50/32 dev lo"), 0);
    refused({}, "already has the address 10.77.0.50");
    EXPECT_EQ(net.b.run("ip addr del 10.77.0.50/32 dev lo"), 0);
    must(ArrivingNetwork::check(network, {}));
}

TEST(NetworkSpace, RulesThatCannotBeLoadedLeaveNothing) {
    const ContainerNetwork net;
    furnish(net);
    auto network = must(read(net));
    for (FilterObject& object : network.space->filter.ruleset) {
        const auto type =
            std::ranges::search(object.attributes, std::as_bytes(std::span("filter")));
        if (!type.empty()) type.front() = std::byte{'z'};
    }
    const auto inside = net.b.enter();
    const auto result = ArrivingNetwork::prepare(network, net.other.space(), {});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind(), Error::Kind::Unsupported);
    EXPECT_THAT(result.error().message(), HasSubstr("does not take the container's packet filter"));
    EXPECT_EQ(net.other.output("nft list tables"), "");
    EXPECT_EQ(net.other.run("ip link show eth0 >/dev/null 2>&1"), 1);
    EXPECT_NE(net.b.run("ip link show ctr77 >/dev/null 2>&1"), 0);
}

TEST(NetworkSpace, ANamespaceThatHasTheDeviceAlreadyIsRefused) {
    const ContainerNetwork net;
    const auto network = must(read(net));
    ContainerNetwork::plug_in(net.b, net.other, "other", "02:00:00:77:00:51");
    const auto inside = net.b.enter();
    const auto result = ArrivingNetwork::prepare(network, net.other.space(), {});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind(), Error::Kind::Unsupported);
    EXPECT_THAT(result.error().message(), HasSubstr("there already is a device eth0 here"));
    EXPECT_EQ(net.other.run("ip link show eth0 >/dev/null"), 0) << "which is not ours to remove";
}

class TakenAddress : public testing::TestWithParam<const char*> {};

TEST_P(TakenAddress, InTheNetworkIsFoundAndRefused) {
    const ContainerNetwork net;
    const auto network = must(read(net));
    ContainerNetwork::plug_in(net.b, net.other, "other", "02:00:00:77:00:51");
    EXPECT_EQ(net.other.run(
                  fmt::format("ip link set eth0 up && ip addr add {} dev eth0 nodad", GetParam())),
              0);
    const auto inside = net.b.enter();
    // On a busy machine its owner may answer later than anybody listens.
    constexpr int kTries = 50;
    auto result = ArrivingNetwork::check(network, {});
    for (int i = 0; i < kTries && result; ++i) result = ArrivingNetwork::check(network, {});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind(), Error::Kind::Unsupported);
    EXPECT_THAT(result.error().message(),
                HasSubstr("is taken: 02:00:00:77:00:51 answers for it on cbr0"));
}

INSTANTIATE_TEST_SUITE_P(Families, TakenAddress, testing::Values("10.77.0.50/24", "fd77::50/64"),
                         [](const auto& one) { return one.index == 0 ? "v4" : "v6"; });

TEST(NetworkSpace, APreparedContainerIsInvisible) {
    const ContainerNetwork net;
    const lab::EchoService service_a(net.container, 'A');
    const auto network = must(read(net));
    const lab::EchoService service_b(net.other, 'B');
    {
        auto arriving = arrive(net, network);
        EXPECT_EQ(net.client.run("ip neigh flush dev br0"), 0);
        for (const char* text : {ContainerNetwork::kContainer4, ContainerNetwork::kContainer6}) {
            const int client = lab::connect_to(net.client, address(text), SOCK_DGRAM);
            for (int i = 0; i < 100; ++i) EXPECT_EQ(lab::ask(client), 'A');
            ::close(client);
        }
        // What the device itself would say is swallowed as well.
        EXPECT_NE(net.other.run("ping -c1 -W1 10.77.0.9 >/dev/null"), 0);
        EXPECT_EQ(net.client.run("ping -c1 -W1 10.77.0.50 >/dev/null"), 0);
    }
    EXPECT_EQ(net.other.run("ip link show eth0 >/dev/null 2>&1"), 1) << "dropping it removes it";
    EXPECT_NE(net.b.run("ip link show ctr77 >/dev/null 2>&1"), 0);
    EXPECT_EQ(net.other.output("nft list tables"), "");
}

TEST(NetworkSpace, IsReadyOnlyWhenASpanningTreeLetsItsFramesPass) {
    const ContainerNetwork net;
    const auto network = must(read(net));
    EXPECT_EQ(net.b.run("ip link set cbr0 type bridge stp_state 1 forward_delay 200"), 0);
    const auto arriving = arrive(net, network);
    EXPECT_THAT(net.b.output("ip -d link show ctr77"), HasSubstr("state forwarding"));
}

TEST(NetworkSpace, AMacvlanOfAContainerMovesAsWell) {
    const ContainerNetwork net;
    const auto add = fmt::format("ip link add link cbr0 name mv0 netns {} type macvlan mode bridge",
                                 net.container.pid());
    EXPECT_EQ(net.a.run(add), 0);
    EXPECT_EQ(net.container.run("ip link set mv0 address 02:00:00:77:00:60 up && "
                                "ip addr add 10.77.0.60/24 dev mv0 nodad"),
              0);
    const auto network = must(read(net));
    EXPECT_EQ(device_of(network, "mv0").parent, "cbr0");
    auto arriving = arrive(net, network);
    EXPECT_EQ(net.container.run("ip link del mv0 && ip link set eth0 down"), 0);
    must(arriving.activate());
    must(arriving.announce());
    must(arriving.keep());
    EXPECT_EQ(net.client.run("ping -c1 -W1 10.77.0.60 >/dev/null"), 0);
    EXPECT_EQ(net.client.run("ping -c1 -W1 10.77.0.50 >/dev/null"), 0);
}

TEST(NetworkSpace, SigkillOfTheDestinationLeavesNothing) {
    const ContainerNetwork net;
    const auto network = must(read(net));
    Victim victim(net.b, [&] {
        static auto arriving = must(ArrivingNetwork::prepare(network, net.other.space(), {}));
        must(arriving.activate());
    });
    EXPECT_EQ(net.b.run("ip link show ctr77 >/dev/null"), 0);
    victim.kill();
    EXPECT_TRUE(eventually([&] {
        return net.b.run("ip link show ctr77 >/dev/null 2>&1") != 0 &&
               net.other.output("nft list tables").empty();
    }));
}

TEST(NetworkSpace, SigkillOfASilencedSourceLetsItSpeakAgain) {
    const ContainerNetwork net;
    const auto network = must(read(net));
    Victim victim(net.a, [&] {
        static auto departing = must(DepartingNetwork::arm(network, net.container.space()));
        static auto hold = must(net.container.space().within(
            [&] { return NetworkHold::install(targets_of(network), HoldScope::Everything); }));
        must(departing.silence());
    });
    EXPECT_THAT(net.container.output("nft list tables"), HasSubstr("ferry_hold_"));
    EXPECT_EQ(net.a.output("nft list tables"), "") << "nothing of it is in the host's namespace";
    EXPECT_NE(net.client.run("ping -c1 -W1 10.77.0.50 >/dev/null"), 0);
    victim.kill();
    EXPECT_TRUE(eventually([&] { return net.container.output("nft list tables").empty(); }));
    EXPECT_TRUE(
        eventually([&] { return net.client.run("ping -c1 -W1 10.77.0.50 >/dev/null") == 0; }));
}

TEST(NetworkSpace, SigkillOfACommittedSourceRemovesBothEnds) {
    const ContainerNetwork net;
    const auto network = must(read(net));
    Victim victim(net.a, [&] {
        static auto departing = must(DepartingNetwork::arm(network, net.container.space()));
        must(departing.silence());
        must(departing.commit());
    });
    victim.kill();
    EXPECT_TRUE(eventually([&] { return net.a.run("ip link show ctr77 >/dev/null 2>&1") != 0; }));
}

}  // namespace
}  // namespace ferry::handover
