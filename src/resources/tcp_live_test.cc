// TCP connections between this process (the peer) and a child (the service) over loopback in a
// network namespace of their own; the child's end is collected, killed in silence and opened again.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "base/check.h"
#include "os/endpoint.h"
#include "os/process.h"
#include "os/socket.h"
#include "resources/live_tree.h"
#include "resources/tcp_connection.h"

namespace ferry::resources {
namespace {

constexpr std::uint16_t kPort = 7000;

os::SocketAddress local(int family) {
    InetEndpoint endpoint = {.family = family, .address = {}, .port = kPort, .scope = 0};
    if (family == AF_INET) {
        inet_pton(AF_INET, "127.0.0.1", &endpoint.address);
    } else {
        endpoint.address = in6addr_loopback;
    }
    return to_address(endpoint);
}

// The service's descriptors; its kFirstConnection + i talks to peers[i].
constexpr int kListener = 3;
constexpr int kFirstConnection = 4;

struct Service {
    std::vector<os::UniqueFd> peers;
    std::unique_ptr<LiveTree> tree;
};

// The service listens and accepts `count` connections, then does `more` with the first one.
Service start(
    int family, int count, const std::function<void(int)>& more,
    const std::function<void(int)>& peer_first = [](int) {}) {
    enter_test_network();
    Service service;
    const int listener = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    const os::SocketAddress address = local(family);
    EXPECT_EQ(::bind(listener, address.raw(), address.size), 0) << strerror(errno);
    EXPECT_EQ(::listen(listener, 4096), 0);
    std::vector<int> accepted;
    for (int i = 0; i < count; ++i) {
        os::UniqueFd peer(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::connect(peer.get(), address.raw(), address.size), 0);
        accepted.push_back(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
        service.peers.push_back(std::move(peer));
    }
    if (count > 0) peer_first(service.peers[0].get());
    std::vector<int> handed = {listener};
    handed.insert(handed.end(), accepted.begin(), accepted.end());
    service.tree = std::make_unique<LiveTree>(
        [&] {
            if (count > 0) more(kFirstConnection);
        },
        handed);
    ::close(listener);
    for (const int fd : accepted) ::close(fd);
    return service;
}

void fill(int fd, std::size_t limit, std::size_t& filled) {
    const std::string text = pattern(limit);
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
    filled = 0;
    while (filled < limit) {
        const ssize_t n = ::write(fd, text.data() + filled, limit - filled);
        if (n <= 0) break;
        filled += static_cast<std::size_t>(n);
    }
    ::fcntl(fd, F_SETFL, 0);
}

// Nothing keeps packets away between the end of the service's socket and its return, so the peer
// must have nothing to say: its delayed acknowledgement (200 ms at most) has to be out.
void let_the_peer_fall_silent() {
    std::this_thread::sleep_for(std::chrono::milliseconds(250));
}

int state_of(int fd) {
    return tcp_info_of(fd)->tcpi_state;
}

void expect_conversation(int peer, int service) {
    write_text(peer, "ping");
    EXPECT_EQ(read_some(service, 4), "ping");
    write_text(service, "pong");
    EXPECT_EQ(read_some(peer, 4), "pong");
}

class Tcp : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(families, Tcp, testing::Values(AF_INET, AF_INET6),
                         [](const auto& family) { return family.param == AF_INET ? "v4" : "v6"; });

TEST_P(Tcp, an_idle_connection_goes_on) {
    Service service = start(GetParam(), 1, [](int) {});
    const auto before = tcp_info_of(service.peers[0].get());
    auto moved = move_files(*service.tree);
    ASSERT_TRUE(moved) << moved.error().describe();
    const auto after = tcp_info_of(moved->fd(kFirstConnection));
    EXPECT_EQ(after->tcpi_state, TCP_ESTABLISHED);
    EXPECT_EQ(after->tcpi_options, before->tcpi_options);
    EXPECT_GE(after->tcpi_snd_mss, before->tcpi_snd_mss);
    expect_conversation(service.peers[0].get(), moved->fd(kFirstConnection));
}

tcp_info info_after_a_move(int family, std::chrono::milliseconds silence) {
    Service service = start(family, 1, [](int) {});
    std::this_thread::sleep_for(silence);
    auto moved = move_files(*service.tree);
    EXPECT_TRUE(moved) << moved.error().describe();
    if (!moved) return {};
    const auto info = tcp_info_of(moved->fd(kFirstConnection));
    EXPECT_TRUE(info);
    EXPECT_EQ(info->tcpi_unacked, 0u);
    return *info;
}

TEST_P(Tcp, a_lost_first_answer_is_soon_repeated) {
    const tcp_info info = info_after_a_move(GetParam(), std::chrono::milliseconds(0));
    EXPECT_GT(info.tcpi_rtt, 0u);
    EXPECT_LT(info.tcpi_rto, 1'000'000u);
}

TEST_P(Tcp, silence_is_not_taken_for_a_long_round_trip) {
    const tcp_info info = info_after_a_move(GetParam(), std::chrono::milliseconds(1500));
    EXPECT_LE(info.tcpi_rto, 3'000'000u);
}

TEST_P(Tcp, both_queues_survive_and_the_stream_stays_whole) {
    constexpr std::size_t kToService = 100'000;
    constexpr std::size_t kFromService = 8 << 20;  // more than the windows take: a part is unsent
    Service service = start(
        GetParam(), 1,
        [](int fd) {
            std::size_t filled = 0;
            fill(fd, kFromService, filled);
        },
        [](int peer) { write_text(peer, pattern(kToService)); });
    let_the_peer_fall_silent();
    auto moved = move_files(*service.tree);
    ASSERT_TRUE(moved) << moved.error().describe();
    const auto& socket = std::get<model::InetSocket>(moved->file(kFirstConnection).body);
    EXPECT_EQ(socket.tcp->receive_queue.size(), kToService);
    EXPECT_GT(socket.tcp->unsent_bytes, 0u);
    const int restored = moved->fd(kFirstConnection);
    EXPECT_EQ(read_some(restored, kToService), pattern(kToService));
    // What the peer has not read yet begins before what the model carries.
    ::shutdown(restored, SHUT_WR);
    const std::string got = read_some(service.peers[0].get(), kFromService + 1);
    EXPECT_GT(got.size(), socket.tcp->send_queue.size());
    EXPECT_TRUE(got == pattern(got.size()));
}

TEST_P(Tcp, many_connections_share_the_listeners_port) {
    Service service = start(GetParam(), 50, [](int) {});
    auto moved = move_files(*service.tree);
    ASSERT_TRUE(moved) << moved.error().describe();
    for (int i = 0; i < 50; ++i) {
        expect_conversation(service.peers[static_cast<std::size_t>(i)].get(),
                            moved->fd(kFirstConnection + i));
    }
    const os::SocketAddress address = local(GetParam());
    const os::UniqueFd late(::socket(GetParam(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(late.get(), address.raw(), address.size), 0);
    const os::UniqueFd accepted(::accept4(moved->fd(kListener), nullptr, nullptr, SOCK_CLOEXEC));
    expect_conversation(late.get(), accepted.get());
}

TEST_P(Tcp, close_wait_still_sends) {
    Service service = start(
        GetParam(), 1, [](int) {},
        [](int peer) {
            write_text(peer, "bye");
            ::shutdown(peer, SHUT_WR);
        });
    auto moved = move_files(*service.tree);
    ASSERT_TRUE(moved) << moved.error().describe();
    const int restored = moved->fd(kFirstConnection);
    EXPECT_EQ(state_of(restored), TCP_CLOSE_WAIT);
    EXPECT_EQ(read_some(restored, 10), "bye");
    write_text(restored, "answer");
    ::shutdown(restored, SHUT_WR);
    EXPECT_EQ(read_some(service.peers[0].get(), 100), "answer");
}

TEST_P(Tcp, fin_wait_2_still_receives) {
    Service service = start(GetParam(), 1, [](int fd) { ::shutdown(fd, SHUT_WR); });
    EXPECT_EQ(read_some(service.peers[0].get(), 1), "");
    // The peer acknowledges the FIN together with data that it sends.
    write_text(service.peers[0].get(), "early ");
    auto moved = move_files(*service.tree);
    ASSERT_TRUE(moved) << moved.error().describe();
    const int restored = moved->fd(kFirstConnection);
    EXPECT_EQ(state_of(restored), TCP_FIN_WAIT2);
    write_text(service.peers[0].get(), "late");
    ::shutdown(service.peers[0].get(), SHUT_WR);
    EXPECT_EQ(read_some(restored, 100), "early late");
}

// The peer's stack loses everything that arrives for this socket.
void be_deaf(int fd) {
    sock_filter drop = {BPF_RET | BPF_K, 0, 0, 0};
    const sock_fprog program = {.len = 1, .filter = &drop};
    ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)), 0);
}
void hear_again(int fd) {
    const int ignored = 0;
    ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &ignored, sizeof(ignored)), 0);
}

TEST_P(Tcp, fin_wait_1_sends_its_fin_again) {
    Service service = start(
        GetParam(), 1,
        [](int fd) {
            write_text(fd, "last words");
            ::shutdown(fd, SHUT_WR);
        },
        be_deaf);
    auto moved = move_files(*service.tree);
    ASSERT_TRUE(moved) << moved.error().describe();
    EXPECT_EQ(state_of(moved->fd(kFirstConnection)), TCP_FIN_WAIT1);
    hear_again(service.peers[0].get());
    EXPECT_EQ(read_some(service.peers[0].get(), 100), "last words");
}

TEST_P(Tcp, fin_wait_1_with_unsent_data_sends_it_and_then_the_fin) {
    constexpr std::size_t kData = 8 << 20;
    std::size_t filled = 0;
    Service service = start(GetParam(), 1, [&](int fd) {
        fill(fd, kData, filled);
        ::shutdown(fd, SHUT_WR);
    });
    let_the_peer_fall_silent();
    auto moved = move_files(*service.tree);
    ASSERT_TRUE(moved) << moved.error().describe();
    const std::string got = read_some(service.peers[0].get(), kData + 1);
    EXPECT_GT(got.size(), std::size_t{100'000});
    EXPECT_TRUE(got == pattern(got.size()));
    char byte = 0;
    EXPECT_EQ(::recv(service.peers[0].get(), &byte, 1, MSG_DONTWAIT), 0);
}

TEST_P(Tcp, closing_ends_on_both_sides) {
    Service service = start(GetParam(), 1, [](int fd) { ::shutdown(fd, SHUT_WR); }, be_deaf);
    ::shutdown(service.peers[0].get(), SHUT_WR);
    auto moved = move_files(*service.tree);
    ASSERT_TRUE(moved) << moved.error().describe();
    EXPECT_EQ(state_of(moved->fd(kFirstConnection)), TCP_CLOSING);
    hear_again(service.peers[0].get());
    EXPECT_EQ(read_some(service.peers[0].get(), 1), "");
    EXPECT_EQ(read_some(moved->fd(kFirstConnection), 1), "");
}

TEST_P(Tcp, last_ack_ends) {
    Service service = start(
        GetParam(), 1, [](int fd) { ::shutdown(fd, SHUT_WR); },
        [](int peer) {
            ::shutdown(peer, SHUT_WR);
            be_deaf(peer);
        });
    auto moved = move_files(*service.tree);
    ASSERT_TRUE(moved) << moved.error().describe();
    EXPECT_EQ(state_of(moved->fd(kFirstConnection)), TCP_LAST_ACK);
    hear_again(service.peers[0].get());
    EXPECT_EQ(read_some(service.peers[0].get(), 1), "");
}

TEST_P(Tcp, a_dead_connection_stays_dead) {
    Service service = start(GetParam(), 1, [](int) {});
    const linger reset = {.l_onoff = 1, .l_linger = 0};
    ::setsockopt(service.peers[0].get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    service.peers[0].reset();
    auto moved = move_files(*service.tree);
    ASSERT_TRUE(moved) << moved.error().describe();
    char byte = 0;
    // The error, which it had not read, and then the end.
    EXPECT_EQ(::read(moved->fd(kFirstConnection), &byte, 1), -1);
    EXPECT_EQ(errno, ECONNRESET);
    EXPECT_EQ(::read(moved->fd(kFirstConnection), &byte, 1), 0);
    EXPECT_EQ(::send(moved->fd(kFirstConnection), &byte, 1, MSG_NOSIGNAL), -1);
}

TEST_P(Tcp, options_survive) {
    Service service = start(GetParam(), 1, [](int fd) {
        const int on = 1;
        const int idle = 77;
        const int size = 50'000;
        ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
        ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        ::fcntl(fd, F_SETFL, O_NONBLOCK);
    });
    auto moved = move_files(*service.tree);
    ASSERT_TRUE(moved) << moved.error().describe();
    const int restored = moved->fd(kFirstConnection);
    EXPECT_NE(::fcntl(restored, F_GETFL) & O_NONBLOCK, 0);
    const SocketKind kind = {GetParam(), SOCK_STREAM, IPPROTO_TCP};
    const auto before = std::get<model::InetSocket>(moved->file(kFirstConnection).body).options;
    auto after = *read_socket_options(restored, kind);
    EXPECT_TRUE(before.no_delay);
    EXPECT_TRUE(after.reuse_address);
    after.receive_buffer = before.receive_buffer;  // tuned by the kernel
    EXPECT_EQ(before, after);
}

TEST_P(Tcp, an_option_that_is_not_carried_is_refused_by_name) {
    Service service = start(GetParam(), 1, [](int fd) {
        const int on = 1;
        ::setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on));
    });
    FileCollector collector({.tcp_established = true}, nullptr);
    const auto prepared = collector.prepare(std::vector<Pid>{service.tree->pid()});
    ASSERT_FALSE(prepared);
    EXPECT_EQ(prepared.error().kind(), Error::Kind::Unsupported);
    EXPECT_NE(prepared.error().message().find("SO_ZEROCOPY"), std::string::npos);
}

TEST_P(Tcp, rolling_back_leaves_the_service_as_it_was) {
    Service service = start(
        GetParam(), 1,
        [](int fd) {
            const int on = 1;
            ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        },
        [](int peer) { write_text(peer, "waiting"); });
    {
        FileCollector collector({.tcp_established = true}, nullptr);
        const auto checkpoint = collect_files(collector, *service.tree);
        ASSERT_TRUE(checkpoint) << checkpoint.error().describe();
    }
    const auto pidfd = os::PidFd::open(service.tree->pid());
    const os::UniqueFd copy = *pidfd->getfd(kFirstConnection);
    EXPECT_EQ(*os::getsockopt<int>(copy.get(), IPPROTO_TCP, TCP_REPAIR), 0);
    EXPECT_EQ(*os::getsockopt<int>(copy.get(), SOL_SOCKET, SO_REUSEADDR), 1);
    EXPECT_EQ(read_some(copy.get(), 7), "waiting");
    expect_conversation(service.peers[0].get(), copy.get());
}

TEST_P(Tcp, a_connection_that_waits_to_be_accepted_is_busy) {
    Service service = start(GetParam(), 0, [](int) {});
    const os::SocketAddress address = local(GetParam());
    const os::UniqueFd waiting(::socket(GetParam(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(waiting.get(), address.raw(), address.size), 0);
    FileCollector collector({.tcp_established = true}, nullptr);
    const std::vector<Pid> pids = {service.tree->pid()};
    ASSERT_TRUE(collector.prepare(pids));
    const auto collected = collector.collect(pids);
    ASSERT_TRUE(collected) << collected.error().describe();
    EXPECT_NE(collected->busy.find("not accepted"), std::string::npos) << collected->busy;
}

TEST_P(Tcp, a_handshake_under_way_is_busy) {
    Service service = start(GetParam(), 0, [](int) {});
    const os::SocketAddress address = local(GetParam());
    const os::UniqueFd half(::socket(GetParam(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    be_deaf(half.get());
    ASSERT_EQ(::connect(half.get(), address.raw(), address.size), -1);
    FileCollector collector({.tcp_established = true}, nullptr);
    const std::vector<Pid> pids = {service.tree->pid()};
    const auto collected = collector.collect(pids);
    ASSERT_TRUE(collected) << collected.error().describe();
    EXPECT_NE(collected->busy.find("handshake"), std::string::npos) << collected->busy;
}

TEST_P(Tcp, connections_are_refused_by_name_unless_asked_for) {
    Service service = start(GetParam(), 1, [](int) {});
    FileCollector collector({}, nullptr);
    const std::vector<Pid> pids = {service.tree->pid()};
    const auto prepared = collector.prepare(pids);
    ASSERT_FALSE(prepared);
    EXPECT_EQ(prepared.error().kind(), Error::Kind::Unsupported);
    EXPECT_NE(prepared.error().message().find("--tcp-established"), std::string::npos);
}

// An IPv6 socket that talks IPv4.
class DualStack : public testing::Test {
  protected:
    void SetUp() override {
        enter_test_network();
        const os::UniqueFd listener(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const os::SocketAddress any =
            to_address({.family = AF_INET6, .address = in6addr_any, .port = kPort, .scope = 0});
        ASSERT_EQ(::bind(listener.get(), any.raw(), any.size), 0);
        ASSERT_EQ(::listen(listener.get(), 5), 0);
        peer_ = os::UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const os::SocketAddress address = local(AF_INET);
        ASSERT_EQ(::connect(peer_.get(), address.raw(), address.size), 0);
        const os::UniqueFd accepted(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        tree_ = std::make_unique<LiveTree>([] {}, std::vector{listener.get(), accepted.get()});
    }
    os::UniqueFd peer_;
    std::unique_ptr<LiveTree> tree_;
};

TEST_F(DualStack, a_mapped_connection_goes_on) {
    auto moved = move_files(*tree_);
    ASSERT_TRUE(moved) << moved.error().describe();
    expect_conversation(peer_.get(), moved->fd(kFirstConnection));
}

TEST_F(DualStack, a_mapped_connection_in_close_wait_still_sends) {
    ::shutdown(peer_.get(), SHUT_WR);
    auto moved = move_files(*tree_);
    ASSERT_TRUE(moved) << moved.error().describe();
    EXPECT_EQ(state_of(moved->fd(kFirstConnection)), TCP_CLOSE_WAIT);
    write_text(moved->fd(kFirstConnection), "answer");
    EXPECT_EQ(read_some(peer_.get(), 6), "answer");
}

TEST_F(DualStack, a_mapped_handshake_under_way_is_busy) {
    const os::SocketAddress address = local(AF_INET);
    const os::UniqueFd half(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    be_deaf(half.get());
    ASSERT_EQ(::connect(half.get(), address.raw(), address.size), -1);
    FileCollector collector({.tcp_established = true}, nullptr);
    const auto collected = collector.collect(std::vector<Pid>{tree_->pid()});
    ASSERT_TRUE(collected) << collected.error().describe();
    EXPECT_NE(collected->busy.find("handshake"), std::string::npos) << collected->busy;
}

class Udp : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(families, Udp, testing::Values(AF_INET, AF_INET6),
                         [](const auto& family) { return family.param == AF_INET ? "v4" : "v6"; });

TEST_P(Udp, bound_and_connected_sockets_go_on) {
    enter_test_network();
    const os::SocketAddress address = local(GetParam());
    LiveTree tree([&] {
        const int bound = ::socket(GetParam(), SOCK_DGRAM, 0);
        CHECK(::bind(bound, address.raw(), address.size) == 0);
        const int connected = ::socket(GetParam(), SOCK_DGRAM, 0);
        CHECK(::connect(connected, address.raw(), address.size) == 0);
    });
    auto moved = move_files(tree);
    ASSERT_TRUE(moved) << moved.error().describe();
    write_text(moved->fd(4), "datagram");
    EXPECT_EQ(read_some(moved->fd(3), 8), "datagram");
}

TEST_P(Udp, unread_datagrams_come_again_from_their_senders) {
    enter_test_network();
    const os::SocketAddress address = local(GetParam());
    const int sender = ::socket(GetParam(), SOCK_DGRAM | SOCK_CLOEXEC, 0);
    LiveTree tree([&] {
        const int bound = ::socket(GetParam(), SOCK_DGRAM, 0);
        CHECK(::bind(bound, address.raw(), address.size) == 0);
    });
    ::sendto(sender, "one", 3, 0, address.raw(), address.size);
    ::sendto(sender, "", 0, 0, address.raw(), address.size);
    ::sendto(sender, "three", 5, 0, address.raw(), address.size);
    auto moved = move_files(tree);
    ASSERT_TRUE(moved) << moved.error().describe();
    os::SocketAddress wanted, found;
    wanted.size = found.size = sizeof(found.storage);
    ::getsockname(sender, reinterpret_cast<sockaddr*>(&wanted.storage), &wanted.size);
    for (const std::string text : {"one", "", "three"}) {
        char buffer[16] = {};
        const ssize_t n = ::recvfrom(moved->fd(3), buffer, sizeof(buffer), MSG_DONTWAIT,
                                     reinterpret_cast<sockaddr*>(&found.storage), &found.size);
        EXPECT_EQ(std::string(buffer, n < 0 ? 0 : static_cast<std::size_t>(n)), text);
        const auto port = [](const os::SocketAddress& a) { return to_endpoint(a)->port; };
        ASSERT_EQ(n, static_cast<ssize_t>(text.size()));
        EXPECT_EQ(port(found), port(wanted));
    }
    char byte = 0;
    EXPECT_EQ(::recv(moved->fd(3), &byte, 1, MSG_DONTWAIT), -1);
    ::close(sender);
}

}  // namespace
}  // namespace ferry::resources
