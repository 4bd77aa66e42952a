// The hold and the move of an identity over real namespaces. Needs root. Times are printed, not
// asserted.
#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "handover/echo.h"
#include "handover/ip_packet.h"
#include "handover/network_hold.h"
#include "handover/network_identity.h"
#include "handover/network_lab.h"
#include "handover/network_move.h"

namespace ferry::handover {
namespace {

using lab::address;
using lab::eventually;
using lab::must;
using lab::now_ms;
using lab::Victim;
using std::chrono::milliseconds;

// Prints how long a step took.
template <class F>
auto timed(const char* what, F f) {
    const double before = now_ms();
    if constexpr (std::is_void_v<decltype(f())>) {
        f();
        fmt::print("    {:<34} {:7.3f} ms\n", what, now_ms() - before);
    } else {
        auto result = f();
        fmt::print("    {:<34} {:7.3f} ms\n", what, now_ms() - before);
        return result;
    }
}

bool has_device(const lab::Host& host) {
    return host.run("ip link show svc0 >/dev/null 2>&1") == 0;
}
std::string tables(const lab::Host& host) {
    return host.output("nft list tables");
}

ServiceNetwork service_network(const lab::Host& host) {
    const auto inside = host.enter();
    return {.devices = must(find_identities(
                std::array{address(lab::kService4), address("127.0.0.1"), address("0.0.0.0")})),
            .space = {}};
}

// Of a service in the host's own namespace, in which the calling thread is.
Result<ArrivingNetwork> prepare_here(const ServiceNetwork& network, const std::string& uplink) {
    return ArrivingNetwork::prepare(network, must(os::NetworkNamespace::own()),
                                    {.uplink = uplink, .bridge = {}});
}
DepartingNetwork arm_here(const ServiceNetwork& network) {
    return must(DepartingNetwork::arm(network, must(os::NetworkNamespace::own())));
}

std::vector<HoldTarget> service_targets() {
    return {{.address = address(lab::kService4)}, {.address = address(lab::kService6)}};
}

class HeldService : public testing::TestWithParam<const char*> {
  protected:
    HeldService() { net_.add_service(); }
    // No packet was lost as TCP sees it: nobody sent again for want of an answer, nobody was reset.
    void expect_no_timeouts() const {
        for (const lab::Host* host : {&net_.client, &net_.a}) {
            EXPECT_EQ(host->counter("TcpExt", "TCPTimeouts"), 0);
            EXPECT_EQ(host->counter("Tcp", "OutRsts"), 0);
        }
        fmt::print("    retransmitted segments: client {}, service {}\n",
                   net_.client.counter("Tcp", "RetransSegs"), net_.a.counter("Tcp", "RetransSegs"));
    }
    lab::Network net_;
};

TEST_P(HeldService, AHoldReleasedOnTheSourceCostsAClientNoMoreThanItsOwnTime) {
    lab::EchoService service(net_.a, 'A');
    lab::ClosedLoopClient client(net_.client, address(GetParam()));
    std::this_thread::sleep_for(milliseconds(50));
    {
        const auto inside = net_.a.enter();
        auto hold = timed("install, new connections", [] {
            return must(NetworkHold::install(service_targets(), HoldScope::NewConnections));
        });
        std::this_thread::sleep_for(milliseconds(20));
        timed("capture connections", [&] { must(hold.capture_connections()); });
        service.pause();
        const long before = client.answers();
        timed("hold everything", [&] { must(hold.hold_everything()); });
        std::this_thread::sleep_for(milliseconds(30));
        const auto taken = timed("take packets", [&] { return must(hold.take_packets()); });
        // None where the last request had just arrived: then the service answers it when it goes
        // on.
        fmt::print("    held packets {}\n", taken.size());
        EXPECT_LE(client.answers(), before + 1);
        timed("allow outgoing", [&] { must(hold.allow_outgoing()); });
        service.resume();
        timed("release and replay", [&] { must(hold.release_and_replay(taken)); });
        timed("destructor", [&] { const auto gone = std::move(hold); });
    }
    std::this_thread::sleep_for(milliseconds(50));
    client.finish();
    fmt::print("    longest wait of the client {:.1f} ms, hold 30 ms\n", client.longest_wait_ms());
    EXPECT_FALSE(client.broken());
    expect_no_timeouts();
    EXPECT_EQ(tables(net_.a), "");
}

TEST_P(HeldService, AConnectionThatBeginsWhileNewOnesAreHeldIsMadeAfterTheRelease) {
    const lab::EchoService service(net_.a, 'A');
    int fd = -1;
    std::thread connecting;
    {
        const auto inside = net_.a.enter();
        auto hold = must(NetworkHold::install(service_targets(), HoldScope::NewConnections));
        connecting = std::thread(
            [&] { fd = lab::connect_to(net_.client, address(GetParam()), SOCK_STREAM); });
        std::vector<HeldPacket> taken;
        EXPECT_TRUE(eventually([&] {
            for (auto& packet : must(hold.take_packets())) taken.push_back(std::move(packet));
            return !taken.empty();
        }));
        EXPECT_EQ(fd, -1);
        must(hold.release_and_replay(taken));
    }
    connecting.join();
    EXPECT_EQ(lab::ask(fd), 'A');
    ::close(fd);
    EXPECT_EQ(net_.client.counter("TcpExt", "TCPTimeouts"), 0);
}

TEST_P(HeldService, KnownConnectionsAreReplayedApartFromNewOnes) {
    const lab::EchoService service(net_.a, 'A');
    const int known = lab::connect_to(net_.client, address(GetParam()), SOCK_STREAM);
    std::atomic<int> fresh = -1;
    std::thread connecting;
    {
        const auto inside = net_.a.enter();
        auto hold = must(NetworkHold::install(service_targets(), HoldScope::Everything));
        char c = '?';
        EXPECT_EQ(::send(known, &c, 1, 0), 1);
        connecting = std::thread(
            [&] { fresh = lab::connect_to(net_.client, address(GetParam()), SOCK_STREAM); });
        std::vector<HeldPacket> taken;
        EXPECT_TRUE(eventually([&] {
            for (auto& packet : must(hold.take_packets())) taken.push_back(std::move(packet));
            const auto known_ones = std::ranges::count_if(taken, is_of_known_connection);
            return known_ones > 0 && known_ones < std::ssize(taken);
        }));
        must(hold.release());
        auto replay = must(PacketReplay::create());
        const auto first = must(replay.replay(taken, ReplayPart::KnownConnections));
        EXPECT_EQ(::recv(known, &c, 1, 0), 1);
        EXPECT_EQ(fresh, -1);
        const auto second = must(replay.replay(taken, ReplayPart::Rest));
        EXPECT_GE(first, 1U);
        EXPECT_EQ(first + second, taken.size());
        EXPECT_EQ(must(must(PacketReplay::create(Firewall::Yes)).replay(taken)), first)
            << "behind a firewall";
    }
    connecting.join();
    EXPECT_EQ(lab::ask(fresh), 'A');
    ::close(fresh);
    ::close(known);
    EXPECT_EQ(net_.client.counter("TcpExt", "TCPTimeouts"), 0);
}

TEST_P(HeldService, LargeSegmentsThatNeverHadAChecksumAreReplayedWhole) {
    lab::EchoService service(net_.a, 'A');
    const int fd = lab::connect_to(net_.client, address(GetParam()), SOCK_STREAM);
    const auto inside = net_.a.enter();
    // Offloaded segments grow with the congestion window: let it open first.
    const auto exchange = [&](std::size_t size) {
        std::string data(size, 'x');
        EXPECT_EQ(::send(fd, data.data(), size, MSG_NOSIGNAL), static_cast<ssize_t>(size));
        std::string answer(size, '\0');
        EXPECT_EQ(::recv(fd, answer.data(), size, MSG_WAITALL), static_cast<ssize_t>(size));
        EXPECT_EQ(answer, std::string(size, 'A'));
    };
    for (int i = 0; i < 50; ++i) exchange(60'000);
    service.pause();
    auto hold = must(NetworkHold::install(service_targets(), HoldScope::Everything));
    std::thread exchanging([&] { exchange(60'000); });
    std::vector<HeldPacket> taken;
    std::size_t bytes = 0;
    EXPECT_TRUE(eventually([&] {
        for (auto& packet : must(hold.take_packets())) {
            bytes += packet.size();
            taken.push_back(std::move(packet));
        }
        return bytes > 10'000;
    }));
    const auto largest = std::ranges::max(taken, {}, &HeldPacket::size).size();
    fmt::print("    held {} packets, {} bytes, the largest {}\n", taken.size(), bytes, largest);
    EXPECT_GT(largest, 1500U) << "the test network did not offload: nothing was shown";
    service.resume();
    must(hold.release_and_replay(taken));
    exchanging.join();
    ::close(fd);
    EXPECT_EQ(hold.lost_packets(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Families, HeldService, testing::Values(lab::kService4, lab::kService6),
                         [](const auto& one) { return one.index == 0 ? "v4" : "v6"; });

// Cut after cut through a stream of segments, as a crossing cuts that rolls back. Each segment is
// either with the stack when its sockets would be read, or held; after the release each was there.
TEST(NetworkHold, NoSegmentFallsBetweenTheStackAndTheCapture) {
    constexpr int kCuts = 40;
    const lab::Network net;
    net.add_service();
    lab::SegmentSink sink(net.a, address(lab::kService4));
    lab::SegmentStream stream(net.client, address(lab::kService4));
    const auto inside = net.a.enter();
    std::size_t held = 0;
    for (int cut = 0; cut < kCuts; ++cut) {
        auto hold = must(NetworkHold::install(service_targets(), HoldScope::NewConnections));
        must(hold.capture_connections());
        std::this_thread::sleep_for(std::chrono::microseconds(300));  // the tree is stopped
        must(hold.hold_everything());
        sink.drain();
        std::this_thread::sleep_for(milliseconds(2));
        EXPECT_EQ(sink.drain(), 0U) << "the stack took segments when its sockets had been read";
        const auto taken = must(hold.take_packets());
        held += taken.size();
        must(hold.release_and_replay(taken));
        EXPECT_EQ(hold.lost_packets(), 0U);
    }
    const std::uint32_t sent = stream.finish();
    EXPECT_TRUE(eventually([&] { return sink.drain() == 0; }));
    ASSERT_EQ(sink.times().size(), sent) << "the last ones";
    const auto missing = std::ranges::count(sink.times(), 0);
    const auto twice = std::ranges::count_if(sink.times(), [](int times) { return times > 1; });
    fmt::print("    sent {}, held {}, came more than once {}\n", sent, held, twice);
    EXPECT_EQ(missing, 0);
    EXPECT_GT(held, 0U);
}

TEST(NetworkHold, OnlyTheGivenPortOfASharedAddressIsHeld) {
    const lab::Network net;
    const lab::EchoService service(net.a, 'A');
    const int udp = lab::connect_to(net.client, address("10.77.0.1"), SOCK_DGRAM);
    const int tcp = lab::connect_to(net.client, address("10.77.0.1"), SOCK_STREAM);
    EXPECT_EQ(lab::ask(tcp), 'A');
    const auto inside = net.a.enter();
    const HoldTarget target = {.address = address("10.77.0.1"), .port = lab::kPort};
    auto hold = must(NetworkHold::install(std::array{target}, HoldScope::Everything));
    EXPECT_EQ(lab::ask(udp), 'A') << "UDP to the same number is another port";
    char c = '?';
    EXPECT_EQ(::send(tcp, &c, 1, 0), 1);
    EXPECT_EQ(::recv(tcp, &c, 1, MSG_DONTWAIT), -1);
    must(hold.release_and_replay(must(hold.take_packets())));
    EXPECT_EQ(::recv(tcp, &c, 1, 0), 1);
    ::close(tcp);
    ::close(udp);
    EXPECT_EQ(net.client.counter("TcpExt", "TCPTimeouts"), 0);
}

TEST(NetworkHold, AHeldDatagramIsDeliveredOnce) {
    const lab::Network net;
    net.add_service();
    const lab::EchoService service(net.a, 'A');
    const int udp = lab::connect_to(net.client, address(lab::kService4), SOCK_DGRAM);
    EXPECT_EQ(lab::ask(udp), 'A');
    const auto inside = net.a.enter();
    auto hold = must(NetworkHold::install(service_targets(), HoldScope::Everything));
    char c = '?';
    EXPECT_EQ(::send(udp, &c, 1, 0), 1);
    std::vector<HeldPacket> taken;
    EXPECT_TRUE(eventually([&] {
        taken = must(hold.take_packets());
        return !taken.empty();
    }));
    EXPECT_EQ(taken.size(), 1U);
    must(hold.release_and_replay(taken));
    EXPECT_EQ(::recv(udp, &c, 1, 0), 1);
    std::this_thread::sleep_for(milliseconds(50));
    EXPECT_EQ(::recv(udp, &c, 1, MSG_DONTWAIT), -1) << "a second answer";
    ::close(udp);
}

TEST(NetworkHold, SigkillOfItsOwnerLeavesNoTable) {
    const lab::Network net;
    net.add_service();
    Victim victim(net.a, [] {
        static auto hold = must(NetworkHold::install(service_targets(), HoldScope::Everything));
    });
    EXPECT_NE(tables(net.a).find("ferry_hold_"), std::string::npos);
    EXPECT_NE(net.client.run("ping -c1 -W1 10.77.0.100 >/dev/null"), 0);
    victim.kill();
    EXPECT_TRUE(eventually([&] { return tables(net.a).empty(); })) << tables(net.a);
    EXPECT_EQ(net.client.run("ping -c1 -W1 10.77.0.100 >/dev/null"), 0);
}

TEST(NetworkHold, NothingToHoldIsNoError) {
    const lab::Network net;
    const auto inside = net.a.enter();
    const HoldTarget loopback = {.address = address("127.0.0.1")};
    const HoldTarget wildcard = {.address = address("::")};
    auto hold =
        must(NetworkHold::install(std::array{loopback, wildcard}, HoldScope::NewConnections));
    must(hold.hold_everything());
    EXPECT_TRUE(must(hold.take_packets()).empty());
    must(hold.release_and_replay({}));
    EXPECT_EQ(tables(net.a), "");
}

TEST(PacketReplay, APacketOfAnotherLengthThanItsHeaderSaysIsRefused) {
    const lab::Network net;
    const auto inside = net.a.enter();
    auto replay = must(PacketReplay::create());
    const std::array<HeldPacket, 1> packets = {HeldPacket(100, std::byte{0x45})};
    const auto done = replay.replay(packets);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().kind(), Error::Kind::Corrupt);
}

TEST(NetworkIdentity, IsFoundByAnAddressWithItsRoutesAndSettings) {
    const lab::Network net;
    net.add_service();
    const auto network = service_network(net.a);
    ASSERT_EQ(network.devices.size(), 1U);
    const auto& identity = network.devices[0];
    EXPECT_EQ(identity.name, "svc0");
    EXPECT_EQ(identity.parent, "eth0");
    EXPECT_EQ(to_string(identity.mac), lab::kServiceMac);
    EXPECT_EQ(identity.mtu, 1500U);
    EXPECT_EQ(identity.addresses.size(), 3U) << "IPv4, IPv6 and the link-local one";
    ASSERT_EQ(identity.routes.size(), 1U);
    EXPECT_EQ(identity.routes[0].gateway->to_string(), "10.77.0.9");
    EXPECT_EQ(identity.routes[0].priority, 7U);
    EXPECT_EQ(identity.routes[0].metrics.size(), 1U);
    EXPECT_GT(identity.settings.size(), 10U);
    EXPECT_EQ(must(decode_network(encode_network(network))), network);
}

TEST(NetworkIdentity, AnAddressOfTheHostItselfIsRefusedByName) {
    const lab::Network net;
    const auto inside = net.a.enter();
    const auto shared = find_identities(std::array{address("10.77.0.1")});
    ASSERT_FALSE(shared);
    EXPECT_EQ(shared.error().kind(), Error::Kind::Unsupported);
    EXPECT_NE(shared.error().message().find("10.77.0.1 stands on eth0, a veth device"),
              std::string::npos)
        << shared.error().message();
    const auto unknown = find_identities(std::array{address("10.1.2.3")});
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().kind(), Error::Kind::Invalid);
}

// One crossing as the two sessions would do it, without a tree to move.
void cross(const lab::Host& from, const lab::Host& to) {
    const auto network = service_network(from);
    auto arriving = [&] {
        const auto inside = to.enter();
        return timed("prepare", [&] { return must(prepare_here(network, "")); });
    }();
    auto departing = [&] {
        const auto inside = from.enter();
        return timed("arm", [&] { return arm_here(network); });
    }();
    timed("silence", [&] { must(departing.silence()); });
    timed("commit", [&] { must(departing.commit()); });
    timed("activate", [&] { must(arriving.activate()); });
    timed("announce", [&] { must(arriving.announce()); });
    timed("keep", [&] { must(arriving.keep()); });
    timed("remove", [&] { must(departing.remove()); });
    must(arriving.announce());
    timed("destructors", [&] {
        const auto gone = std::move(arriving);
        const auto gone_too = std::move(departing);
    });
}

TEST(NetworkMove, AnIdentityCrossesAndComesBackAndItsClientsFollow) {
    const lab::Network net;
    net.add_service();
    const lab::EchoService service_a(net.a, 'A');
    const lab::EchoService service_b(net.b, 'B');
    std::vector<int> clients;
    for (const char* text : {lab::kService4, lab::kService6}) {
        clients.push_back(lab::connect_to(net.client, address(text), SOCK_DGRAM));
    }
    const auto original = service_network(net.a);
    const auto expect_answers_from = [&](char name) {
        for (const int client : clients) EXPECT_EQ(lab::ask(client), name);
        EXPECT_EQ(net.client.run("ping -c1 -W1 10.77.0.100 >/dev/null"), 0);
        EXPECT_EQ(net.client.run("ping -c1 -W1 fd77::100 >/dev/null"), 0);
        const int tcp = lab::connect_to(net.client, address(lab::kService4), SOCK_STREAM);
        EXPECT_EQ(lab::ask(tcp), name);
        ::close(tcp);
    };
    expect_answers_from('A');
    cross(net.a, net.b);
    EXPECT_FALSE(has_device(net.a));
    expect_answers_from('B');
    cross(net.b, net.a);
    EXPECT_FALSE(has_device(net.b));
    expect_answers_from('A');
    auto back = service_network(net.a);
    // The client has been asked for by ARP anew; which neighbours are known is not part of the
    // identity.
    back.devices[0].neighbours = original.devices[0].neighbours;
    EXPECT_EQ(encode_network(back), encode_network(original));
    EXPECT_EQ(tables(net.a) + tables(net.b), "");
    EXPECT_EQ(net.a.output("ip -d link show svc0").find("alias"), std::string::npos);
    for (const int client : clients) ::close(client);
}

TEST(NetworkMove, APreparedIdentityIsInvisible) {
    const lab::Network net;
    net.add_service();
    const lab::EchoService service_a(net.a, 'A');
    const auto network = service_network(net.a);
    const lab::EchoService service_b(net.b, 'B');
    const auto inside = net.b.enter();
    auto arriving = must(prepare_here(network, ""));
    EXPECT_EQ(net.client.run("ip neigh flush dev br0"), 0);
    const int client = lab::connect_to(net.client, address(lab::kService4), SOCK_DGRAM);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(lab::ask(client), 'A');
    ::close(client);
    // What the device itself would say is swallowed as well.
    EXPECT_NE(net.b.run("ping -c1 -W1 -I svc0 10.77.0.9 >/dev/null"), 0);
    arriving = must(prepare_here({}, ""));
    EXPECT_FALSE(has_device(net.b)) << "dropping it removes the device";
    EXPECT_EQ(tables(net.b), "");
}

TEST(NetworkMove, WhatIsTakenAtTheDestinationIsRefusedByName) {
    const lab::Network net;
    net.add_service();
    const auto network = service_network(net.a);
    const auto inside = net.b.enter();
    const auto refused = [&](const std::string& set_up, const std::string& text) {
        EXPECT_EQ(net.b.run(set_up), 0);
        const auto result = prepare_here(network, "");
        ASSERT_FALSE(result) << set_up;
        EXPECT_EQ(result.error().kind(), Error::Kind::Unsupported);
        EXPECT_NE(result.error().message().find(text), std::string::npos)
            << result.error().message();
    };
    refused("ip addr add 10.77.0.100/32 dev lo", "already has the address 10.77.0.100");
    refused("ip addr del 10.77.0.100/32 dev lo; ip link add svc0 type bridge",
            "already is a device");
    refused("ip link del svc0; ip link add m0 address 02:00:00:77:00:01 type bridge",
            "already has the MAC");
    refused("ip link del m0; ip link set eth0 mtu 1400", "MTU");
    const auto nowhere = prepare_here(network, "eth7");
    ASSERT_FALSE(nowhere);
    EXPECT_EQ(tables(net.b), "");
}

TEST(NetworkMove, SigkillOfTheDestinationLeavesNoDevice) {
    const lab::Network net;
    net.add_service();
    const auto network = service_network(net.a);
    Victim victim(net.b, [&] {
        static auto arriving = must(prepare_here(network, ""));
        must(arriving.activate());
    });
    EXPECT_TRUE(has_device(net.b));
    victim.kill();
    EXPECT_TRUE(eventually([&] { return !has_device(net.b) && tables(net.b).empty(); }));
}

TEST(NetworkMove, WhatIsSaidWhileMutedDoesNotDelayWhatIsSaidAfter) {
    const lab::Network net;
    net.add_service();
    auto network = service_network(net.a);
    network.devices[0].neighbours.clear();  // the client's MAC must be asked for
    const auto bound = [](const lab::Host& host, const char* text) {
        const auto inside = host.enter();
        const int fd = ::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        const auto at = lab::socket_address(address(text), lab::kPort);
        EXPECT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
        return fd;
    };
    for (const auto& [ours, theirs] :
         {std::pair(lab::kService4, "10.77.0.9"), std::pair(lab::kService6, "fd77::9")}) {
        const int client = bound(net.client, theirs);
        const auto inside = net.b.enter();
        auto arriving = must(prepare_here(network, ""));
        const int service = bound(net.b, ours);
        const auto to = lab::socket_address(address(theirs), lab::kPort);
        const auto say = [&](char what) {
            ::sendto(service, &what, 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
        };
        say('1');
        must(arriving.activate());
        say('2');
        pollfd waiting = {.fd = client, .events = POLLIN, .revents = 0};
        EXPECT_EQ(::poll(&waiting, 1, 500), 1) << ours;
        char c = '?';
        EXPECT_EQ(::recv(client, &c, 1, MSG_DONTWAIT), 1);
        EXPECT_EQ(c, '2');
        ::close(service);
        ::close(client);
    }
}

TEST(NetworkMove, ADeviceLeftBehindByAKilledGuardianIsReplaced) {
    const lab::Network net;
    net.add_service();
    const auto network = service_network(net.a);
    EXPECT_EQ(
        net.b.run("ip link add link eth0 name svc0 address 02:00:00:77:00:01 type macvlan && "
                  "ip link set svc0 alias 'ferry prepares this for process 4194304' && "
                  "nft add table netdev ferry_mute_svc0 && nft add table arp ferry_mute_svc0"),
        0);
    const auto inside = net.b.enter();
    const auto arriving = must(prepare_here(network, ""));
    EXPECT_NE(net.b.output("ip addr show svc0").find("10.77.0.100/24"), std::string::npos);
}

TEST(NetworkMove, SigkillOfAKeptDestinationLeavesTheDevice) {
    const lab::Network net;
    net.add_service();
    const auto network = service_network(net.a);
    Victim victim(net.b, [&] {
        static auto arriving = must(prepare_here(network, ""));
        must(arriving.activate());
        must(arriving.keep());
    });
    victim.kill();
    std::this_thread::sleep_for(milliseconds(100));
    EXPECT_TRUE(has_device(net.b));
    EXPECT_EQ(tables(net.b), "");
}

TEST(NetworkMove, SigkillOfASilencedSourceLetsItSpeakAgain) {
    const lab::Network net;
    net.add_service();
    const auto network = service_network(net.a);
    Victim victim(net.a, [&] {
        static auto departing = arm_here(network);
        must(departing.silence());
    });
    EXPECT_NE(net.client.run("ping -c1 -W1 10.77.0.100 >/dev/null"), 0);
    victim.kill();
    EXPECT_TRUE(eventually([&] { return tables(net.a).empty(); }));
    EXPECT_TRUE(has_device(net.a));
    EXPECT_TRUE(
        eventually([&] { return net.client.run("ping -c1 -W1 10.77.0.100 >/dev/null") == 0; }));
}

TEST(NetworkMove, SigkillOfACommittedSourceRemovesTheDevice) {
    const lab::Network net;
    net.add_service();
    const auto network = service_network(net.a);
    Victim victim(net.a, [&] {
        static auto departing = arm_here(network);
        must(departing.silence());
        must(departing.commit());
    });
    EXPECT_TRUE(has_device(net.a));
    victim.kill();
    EXPECT_TRUE(eventually([&] { return !has_device(net.a) && tables(net.a).empty(); }));
}

}  // namespace
}  // namespace ferry::handover
