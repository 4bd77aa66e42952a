// Unix sockets collected from a child and opened again here.
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "resources/live_tree.h"

namespace ferry::resources {
namespace {

struct UnixName {
    sockaddr_un address = {};
    socklen_t size = 0;
    explicit UnixName(const std::string& name) {
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, name.data(), name.size());
        size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    }
    [[nodiscard]] const sockaddr* raw() const {
        return reinterpret_cast<const sockaddr*>(&address);
    }
};

int open_bound(int type, const std::string& name) {
    const int fd = ::socket(AF_UNIX, type, 0);
    const UnixName address(name);
    EXPECT_EQ(::bind(fd, address.raw(), address.size), 0) << strerror(errno);
    return fd;
}

void connect_to(int fd, const std::string& name) {
    const UnixName address(name);
    ASSERT_EQ(::connect(fd, address.raw(), address.size), 0) << strerror(errno);
}

std::string own_name(int fd) {
    sockaddr_un address = {};
    socklen_t size = sizeof(address);
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    return std::string(address.sun_path, size - offsetof(sockaddr_un, sun_path));
}

class Unix : public testing::Test {
  protected:
    void SetUp() override { enter_test_network(); }
    void TearDown() override { ::unlink(path_.c_str()); }
    static Result<Moved> move(const std::function<void()>& set_up) {
        LiveTree tree(set_up);
        return move_files(tree);
    }
    std::string path_ = "/tmp/ferry-unix-" + std::to_string(::getpid());
    std::string abstract_ = std::string("\0ferry-test", 11);
};

TEST_F(Unix, a_stream_pair_keeps_both_queues) {
    auto moved = move([] {
        int ends[2];
        ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
        write_text(3, pattern(50'000));
        write_text(3, "second");
        write_text(4, "back");
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    EXPECT_EQ(read_some(moved->fd(4), 50'006), pattern(50'000) + "second");
    EXPECT_EQ(read_some(moved->fd(3), 4), "back");
    write_text(moved->fd(3), "on");
    EXPECT_EQ(read_some(moved->fd(4), 2), "on");
}

TEST_F(Unix, datagram_and_packet_pairs_keep_their_boundaries) {
    for (const int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
        auto moved = move([&] {
            int ends[2];
            ::socketpair(AF_UNIX, type, 0, ends);
            write_text(3, "one");
            write_text(3, "three");
        });
        ASSERT_TRUE(moved) << moved.error().describe();
        char buffer[100];
        EXPECT_EQ(::read(moved->fd(4), buffer, sizeof(buffer)), 3);
        EXPECT_EQ(::read(moved->fd(4), buffer, sizeof(buffer)), 5);
        write_text(moved->fd(4), "back");
        EXPECT_EQ(read_some(moved->fd(3), 4), "back");
    }
}

TEST_F(Unix, reading_a_queue_from_outside_consumes_nothing) {
    const LiveTree tree([] {
        int ends[2];
        ::socketpair(AF_UNIX, SOCK_DGRAM, 0, ends);
        write_text(3, "stays");
        write_text(3, "too");
    });
    FileCollector collector({}, nullptr);
    for (int round = 0; round < 2; ++round) {
        const auto checkpoint = collect_files(collector, tree);
        ASSERT_TRUE(checkpoint) << checkpoint.error().describe();
        std::size_t messages = 0;
        for (const auto& file : checkpoint->files) {
            const auto* socket = std::get_if<model::UnixSocket>(&file.body);
            if (socket != nullptr) messages += socket->receive_queue.size();
        }
        EXPECT_EQ(messages, 2u);
    }
}

// Whoever reads them is told the sender, which would be another one afterwards.
TEST_F(Unix, unread_datagrams_of_named_senders_and_with_credentials_are_waited_for) {
    for (const bool with_credentials : {false, true}) {
        const LiveTree tree([&] {
            const int to = open_bound(SOCK_DGRAM, abstract_);
            const int from = with_credentials ? ::socket(AF_UNIX, SOCK_DGRAM, 0)
                                              : open_bound(SOCK_DGRAM, abstract_ + "-sender");
            const int on = with_credentials ? 1 : 0;
            ::setsockopt(to, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
            const UnixName name(abstract_);
            ::sendto(from, "x", 1, 0, name.raw(), name.size);
        });
        FileCollector collector({}, nullptr);
        const auto collected = collector.collect(std::vector<Pid>{tree.pid()});
        ASSERT_TRUE(collected) << collected.error().describe();
        const char* reason = with_credentials ? "credentials" : "datagram of @ferry-test-sender";
        EXPECT_NE(collected->busy.find(reason), std::string::npos) << collected->busy;
    }
}

TEST_F(Unix, empty_datagrams_are_messages) {
    auto moved = move([] {
        int ends[2];
        ::socketpair(AF_UNIX, SOCK_DGRAM, 0, ends);
        ::send(3, "", 0, 0);
        write_text(3, "after");
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    char buffer[10];
    EXPECT_EQ(::recv(moved->fd(4), buffer, sizeof(buffer), 0), 0);
    EXPECT_EQ(::recv(moved->fd(4), buffer, sizeof(buffer), 0), 5);
}

TEST_F(Unix, a_listener_and_its_connections_stay_connected) {
    for (const std::string& name : {path_, abstract_}) {
        auto moved = move([&] {
            const int listener = open_bound(SOCK_STREAM, name);
            ::listen(listener, 7);
            const int client = ::socket(AF_UNIX, SOCK_STREAM, 0);
            connect_to(client, name);
            ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
            write_text(client, "hello");
        });
        ASSERT_TRUE(moved) << moved.error().describe();
        EXPECT_EQ(read_some(moved->fd(5), 5), "hello");
        EXPECT_EQ(own_name(moved->fd(5)), own_name(moved->fd(3)));
        const int late = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        connect_to(late, name);
        const int accepted = ::accept4(moved->fd(3), nullptr, nullptr, SOCK_CLOEXEC);
        write_text(late, "late");
        EXPECT_EQ(read_some(accepted, 4), "late");
        ::close(late);
        ::close(accepted);
    }
}

TEST_F(Unix, connections_outlive_their_listener) {
    auto moved = move([&] {
        const int listener = open_bound(SOCK_STREAM, path_);
        ::listen(listener, 7);
        for (int i = 0; i < 2; ++i) {
            connect_to(::socket(AF_UNIX, SOCK_STREAM, 0), path_);
            ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        }
        ::close(listener);
        ::unlink(path_.c_str());
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    write_text(moved->fd(6), "x");
    EXPECT_EQ(read_some(moved->fd(7), 1), "x");
    EXPECT_EQ(own_name(moved->fd(5)), path_ + '\0');
    EXPECT_NE(::access(path_.c_str(), F_OK), 0) << "no file is left behind";
}

TEST_F(Unix, a_bound_datagram_socket_keeps_its_queue_and_file_mode) {
    auto moved = move([&] {
        const int receiver = open_bound(SOCK_DGRAM, path_);
        ::chmod(path_.c_str(), 0640);
        const int sender = ::socket(AF_UNIX, SOCK_DGRAM, 0);
        connect_to(sender, path_);
        write_text(sender, "first");
        EXPECT_EQ(receiver, 3);
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    EXPECT_EQ(read_some(moved->fd(3), 5), "first");
    write_text(moved->fd(4), "second");
    EXPECT_EQ(read_some(moved->fd(3), 6), "second");
    struct stat status = {};
    ASSERT_EQ(::stat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0640u);
}

TEST_F(Unix, the_end_of_a_closed_peer_follows_its_data) {
    auto moved = move([] {
        int ends[2];
        ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
        write_text(4, "rest");
        ::close(4);
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    EXPECT_EQ(read_some(moved->fd(3), 100), "rest");
}

TEST_F(Unix, half_shut_pairs_stay_half_shut) {
    auto moved = move([] {
        int ends[2];
        ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
        write_text(3, "last");
        ::shutdown(3, SHUT_WR);
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    EXPECT_EQ(read_some(moved->fd(4), 100), "last");
    write_text(moved->fd(4), "answer");
    EXPECT_EQ(read_some(moved->fd(3), 6), "answer");
}

TEST_F(Unix, a_peer_outside_the_tree_is_refused_by_name) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const LiveTree tree([] {}, {ends[1]});
    FileCollector collector({}, nullptr);
    const std::vector<Pid> pids = {tree.pid()};
    const auto prepared = collector.prepare(pids);
    // Both ends are ours as well, but only one of them is the tree's.
    ASSERT_FALSE(prepared);
    EXPECT_NE(prepared.error().message().find("outside the tree"), std::string::npos);
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST_F(Unix, a_connection_that_waits_to_be_accepted_is_waited_for) {
    const LiveTree tree([&] {
        ::listen(open_bound(SOCK_STREAM, path_), 1);
        connect_to(::socket(AF_UNIX, SOCK_STREAM, 0), path_);
    });
    FileCollector collector({}, nullptr);
    const std::vector<Pid> pids = {tree.pid()};
    // Its peer has no descriptor yet, but is no stranger.
    const auto prepared = collector.prepare(pids);
    EXPECT_TRUE(prepared) << prepared.error().describe();
    const auto collected = collector.collect(pids);
    ASSERT_TRUE(collected) << collected.error().describe();
    EXPECT_NE(collected->busy.find("were not accepted yet"), std::string::npos);
    EXPECT_EQ(collected->waiting, pids);
}

TEST_F(Unix, an_external_datagram_peer_is_found_by_its_name) {
    const int logger = open_bound(SOCK_DGRAM | SOCK_CLOEXEC, path_);
    LiveTree tree([&] { connect_to(::socket(AF_UNIX, SOCK_DGRAM, 0), path_); });
    auto moved = move_files(tree, {.external_unix = true});
    ASSERT_TRUE(moved) << moved.error().describe();
    write_text(moved->fd(3), "logged");
    EXPECT_EQ(read_some(logger, 6), "logged");
    ::close(logger);
}

TEST_F(Unix, dropping_opened_files_puts_the_socket_file_back) {
    const LiveTree tree([&] { ::listen(open_bound(SOCK_STREAM, path_), 1); });
    FileCollector collector({}, nullptr);
    const auto checkpoint = collect_files(collector, tree);
    ASSERT_TRUE(checkpoint) << checkpoint.error().describe();
    {
        OpenedFiles opened{OpenOptions{}};
        ASSERT_TRUE(opened.finish(*checkpoint));
    }
    const int client = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    connect_to(client, path_);
    ::close(client);
}

}  // namespace
}  // namespace ferry::resources
