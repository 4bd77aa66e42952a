// A container's network crosses under a live TCP connection: everything that a session does to the
// network and to the socket, in a session's order, with a thread as the container's program. Needs
// root. Times are printed, not asserted.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "handover/echo.h"
#include "handover/network_hold.h"
#include "handover/network_lab.h"
#include "handover/network_move.h"
#include "handover/packet_filter.h"
#include "os/endpoint.h"
#include "resources/tcp_connection.h"

namespace ferry::migrate {
namespace {

using handover::HeldPacket;
using handover::lab::address;
using handover::lab::ClosedLoopClient;
using handover::lab::ContainerNetwork;
using handover::lab::must;
using std::chrono::milliseconds;

// Sends back what comes, over a connection that can be exchanged while it stands still.
class Echo {
  public:
    explicit Echo(int fd) : fd_(fd), thread_([this] { serve(); }) {}
    ~Echo() {
        stop_ = true;
        thread_.join();
    }
    Echo(const Echo&) = delete;
    Echo& operator=(const Echo&) = delete;
    void pause() { running_.lock(); }
    void resume_with(int fd) {
        fd_ = fd;
        running_.unlock();
    }

  private:
    void serve() {
        while (!stop_) {
            const std::lock_guard going_on(running_);
            pollfd ready = {.fd = fd_, .events = POLLIN, .revents = 0};
            if (::poll(&ready, 1, 5) <= 0) continue;
            char c = 0;
            if (::read(fd_, &c, 1) != 1) continue;
            EXPECT_EQ(::write(fd_, &c, 1), 1);
        }
    }
    int fd_;
    std::mutex running_;
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

// The container's end of a client's connection.
os::UniqueFd accept_in(const handover::lab::Host& container, const std::function<void()>& connect) {
    const auto inside = container.enter();
    const os::UniqueFd listener(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in6 any = {};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(handover::lab::kPort);
    EXPECT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
    EXPECT_EQ(::listen(listener.get(), 1), 0);
    connect();
    return os::UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
}

const model::SocketOptions& fresh_options(resources::FreshOptions& known) {
    return *must(known.of({AF_INET6, SOCK_STREAM, IPPROTO_TCP}));
}

// What the engine reads of a socket in repair mode, as far as the network is concerned.
model::InetSocket read_socket(int fd, const model::SocketOptions& options) {
    must(resources::enter_repair(fd));
    const auto info = must(resources::tcp_info_of(fd));
    const auto source = must(resources::to_endpoint(must(os::getsockname(fd))));
    const auto destination = must(resources::to_endpoint(must(os::getpeername(fd))));
    model::InetSocket socket;
    socket.family = AF_INET6;
    socket.state = info.tcpi_state;
    socket.source = source.address;
    socket.source_port = source.port;
    socket.destination = destination.address;
    socket.destination_port = destination.port;
    socket.options = options;
    socket.tcp = must(resources::read_tcp_connection(fd, info));
    return socket;
}

// What has come out of the container's end of the pair at the destination.
long frames_from_container(const handover::lab::Host& host) {
    const auto text = host.output("ip -s -j link show ctr77");
    return nlohmann::json::parse(text).at(0).at("stats64").at("rx").at("packets").get<long>();
}

class ContainerCrossing : public testing::TestWithParam<const char*> {
  protected:
    ContainerCrossing() {
        old_ = accept_in(net_.container,
                         [this] { client_.emplace(net_.client, address(GetParam())); });
        echo_.emplace(old_.get());
        std::this_thread::sleep_for(milliseconds(50));
        const auto inside = net_.a.enter();
        network_ = must(handover::read_network(from_));
        departing_.emplace(must(handover::DepartingNetwork::arm(network_, from_)));
    }
    void hold() {
        std::vector<handover::HoldTarget> targets;
        for (const auto& one : network_.ip_addresses()) targets.push_back({.address = one});
        hold_.emplace(must(from_.within([&] {
            return handover::NetworkHold::install(targets, handover::HoldScope::NewConnections);
        })));
        must(hold_->capture_connections());
        echo_->pause();
        must(hold_->hold_everything());
        // The client's next question comes now.
        std::this_thread::sleep_for(milliseconds(20));
    }
    // A whole crossing, in a session's order.
    void cross();
    void expect_unbroken(long answers_before) {
        std::this_thread::sleep_for(milliseconds(100));
        client_->finish();
        fmt::print("    longest wait {:.1f} ms, retransmitted by the client {}\n",
                   client_->longest_wait_ms(), net_.client.counter("Tcp", "RetransSegs"));
        EXPECT_FALSE(client_->broken());
        EXPECT_GT(client_->answers(), answers_before + 10);
        // On a machine that stands still for longer than that, the client repeats itself by right.
        constexpr double kClientTimerMs = 200;
        if (client_->longest_wait_ms() < kClientTimerMs) {
            EXPECT_EQ(net_.client.counter("TcpExt", "TCPTimeouts"), 0);
        }
        for (const auto* host : {&net_.client, &net_.container, &net_.other}) {
            EXPECT_EQ(host->counter("Tcp", "OutRsts"), 0);
        }
    }

    ContainerNetwork net_;
    os::NetworkNamespace from_ = net_.container.space();
    os::NetworkNamespace to_ = net_.other.space();
    resources::FreshOptions known_;
    std::optional<ClosedLoopClient> client_;
    os::UniqueFd old_, new_;
    std::optional<Echo> echo_;
    handover::ServiceNetwork network_;
    std::optional<handover::DepartingNetwork> departing_;
    std::optional<handover::NetworkHold> hold_;
};

void ContainerCrossing::cross() {
    auto [arriving, replay] = [&] {
        const auto inside = net_.b.enter();
        must(handover::ArrivingNetwork::check(network_, {}));
        return std::pair(must(handover::ArrivingNetwork::prepare(network_, to_, {})),
                         must(to_.within([this] {
                             return handover::PacketReplay::create(network_.firewall());
                         })));
    }();
    must(to_.within([] { return handover::load_ruleset({}); }));
    hold();
    const long answers = client_->answers();
    const auto& fresh = fresh_options(known_);
    const auto socket = read_socket(old_.get(), fresh);
    const auto filter = must(from_.within(handover::read_packet_filter));
    must(to_.within([&] { return handover::load_ruleset(filter); }));
    must(to_.within([&] { return handover::make_connections(filter); }));
    auto opened = must(to_.within([&] { return resources::open_tcp_connection(socket, fresh); }));
    must(departing_->silence());
    must(departing_->commit());
    const auto taken = must(hold_->take_packets());
    EXPECT_GE(taken.size() + socket.tcp->receive_queue.size(), 1U) << "nobody has asked";
    EXPECT_EQ(frames_from_container(net_.b), 0) << "it spoke before the commit";
    EXPECT_LE(client_->answers(), answers + 1);
    must(to_.within(
        [&] { return resources::settle_tcp_connection(opened.dormant, handover::kReplayMark); }));
    must(replay.replay(taken, handover::ReplayPart::KnownConnections));
    must(arriving.activate());
    must(arriving.announce());
    must(resources::wake_tcp_connection(opened.dormant));
    must(replay.replay(taken, handover::ReplayPart::Rest));
    new_ = std::move(opened.fd);
    echo_->resume_with(new_.get());
    must(arriving.keep());
    must(replay.replay(must(hold_->take_packets())));
    old_.reset();
    must(departing_->remove());
    EXPECT_NE(net_.a.run("ip link show ctr77 >/dev/null 2>&1"), 0) << "both ends go";
    hold_.reset();
    departing_.reset();
    expect_unbroken(answers);
}

TEST_P(ContainerCrossing, AConnectionGoesOnAtTheDestination) {
    cross();
    for (const auto* host : {&net_.a, &net_.b, &net_.container, &net_.other}) {
        EXPECT_EQ(host->output("nft list tables"), "");
    }
}

// Nobody gets in or out but who is in already, which only the tracking of connections knows. Before
// that, whoever speaks counts as known.
constexpr const char* kWall = R"(flush ruleset
table inet wall {{
    chain in {{
        type filter hook input priority 0; policy drop
        ct state established counter packets 0 bytes 0 accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
        tcp dport 7777 {0}
    }}
    chain out {{
        type filter hook output priority 0; policy drop
        ct state established accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
        tcp sport 7777 {0}
    }}
}}
)";

TEST_P(ContainerCrossing, AConnectionGoesOnThroughAFirewall) {
    const std::string path = fmt::format("{}/ferry-wall-{}", testing::TempDir(), ::getpid());
    for (const char* verdict : {"accept", "drop"}) {
        std::ofstream(path) << fmt::format(kWall, verdict);
        ASSERT_EQ(net_.container.run("nft -f " + path), 0);
        const long before = client_->answers();
        ASSERT_TRUE(handover::lab::eventually([&] { return client_->answers() > before + 10; }));
    }
    std::filesystem::remove(path);
    network_ = must([&] {
        const auto inside = net_.a.enter();
        return handover::read_network(from_);
    }());
    cross();
    const auto rules = net_.other.output("nft list ruleset");
    EXPECT_EQ(net_.other.output("nft -s list ruleset"),
              net_.container.output("nft -s list ruleset"));
    EXPECT_EQ(rules.find("counter packets 0"), std::string::npos) << rules;
    constexpr int kTimedOut = 124;
    EXPECT_EQ(net_.client.run("timeout 1 bash -c 'exec 3<>/dev/tcp/10.77.0.50/7777'"), kTimedOut)
        << "somebody else got in";
}

TEST_P(ContainerCrossing, AConnectionGoesOnAtTheSourceWhenItFails) {
    auto arriving = [&] {
        const auto inside = net_.b.enter();
        return std::optional(must(handover::ArrivingNetwork::prepare(network_, to_, {})));
    }();
    hold();
    const long answers = client_->answers();
    static_cast<void>(read_socket(old_.get(), fresh_options(known_)));
    must(departing_->silence());
    // Now the destination fails.
    must(departing_->speak());
    must(hold_->allow_outgoing());
    must(resources::leave_repair(old_.get(), false));
    echo_->resume_with(old_.get());
    must(hold_->release_and_replay(must(hold_->take_packets())));
    arriving.reset();
    EXPECT_NE(net_.b.run("ip link show ctr77 >/dev/null 2>&1"), 0);
    hold_.reset();
    departing_.reset();
    expect_unbroken(answers);
    EXPECT_EQ(net_.container.output("nft list tables"), "");
}

INSTANTIATE_TEST_SUITE_P(Families, ContainerCrossing,
                         testing::Values(ContainerNetwork::kContainer4,
                                         ContainerNetwork::kContainer6),
                         [](const auto& one) { return one.index == 0 ? "v4" : "v6"; });

}  // namespace
}  // namespace ferry::migrate
