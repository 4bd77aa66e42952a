// Live over loopback. Each test runs its accepting end in a second thread; channels stay in one
// thread.
#include "net/tls_channel.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <future>
#include <numeric>
#include <thread>
#include <vector>

#include "net/listener.h"
#include "net/pki.h"
#include "net/test_directory.h"
#include "net/tls_listener.h"
#include "os/inet.h"
#include "os/socket.h"

namespace ferry::net {
namespace {

using namespace std::chrono_literals;

class TlsChannelTest : public ::testing::Test {
  protected:
    void SetUp() override {
        for (const char* installation : {"/home", "/foreign"}) {
            ASSERT_TRUE(init_pki(directory_.path() + installation, Overwrite::No));
            for (const char* host : {"alpha", "beta"}) {
                ASSERT_TRUE(issue_certificate(directory_.path() + installation,
                                              {.name = host, .also = {"127.0.0.1"}},
                                              Overwrite::No));
            }
        }
    }
    TlsContext context(const std::string& host, const std::string& installation = "/home") {
        auto loaded =
            TlsContext::load(TlsIdentity::in_directory(directory_.path() + installation, host));
        CHECK(loaded.has_value());
        return std::move(*loaded);
    }
    Endpoint there() { return {.host = "127.0.0.1", .port = listener_.port()}; }
    static Deadline soon() { return Deadline::after(20s); }

    // Accepts one connection as beta in another thread.
    std::future<Result<TlsChannel>> accept_as(TlsContext context, std::string expected = "") {
        return std::async(std::launch::async,
                          [this, own = std::move(context),
                           expected = std::move(expected)]() mutable -> Result<TlsChannel> {
                              os::UniqueFd socket = TRY(listener_.accept(soon()));
                              return TlsChannel::accept(own, std::move(socket), expected, soon());
                          });
    }
    // Says `answer` to whoever connects, then closes.
    std::future<void> answer_plainly(std::string answer) {
        return std::async(std::launch::async, [this, answer = std::move(answer)] {
            auto socket = listener_.accept(soon());
            CHECK(socket.has_value());
            if (!answer.empty()) {
                CHECK(os::write_all(socket->get(), os::as_bytes(answer)).has_value());
            }
            // Read what came, so that the close is an end of stream and not a reset.
            std::vector<std::byte> sink(4096);
            ::shutdown(socket->get(), SHUT_WR);
            const int flags = MSG_WAITALL;
            std::ignore = ::recv(socket->get(), sink.data(), 1, flags);
        });
    }

    TestDirectory directory_;
    Listener listener_ = std::move(*Listener::bind({.host = "127.0.0.1", .port = 0}));
};

TEST_F(TlsChannelTest, BytesOfManySizesArriveInOrder) {
    auto accepting = accept_as(context("beta"), "alpha");
    auto client = TlsChannel::connect(context("alpha"), there(), "beta", soon());
    ASSERT_TRUE(client) << client.error().message();
    auto server = accepting.get();
    ASSERT_TRUE(server) << server.error().message();
    EXPECT_EQ(client->peer_name(), "beta");
    EXPECT_EQ(server->peer_name(), "alpha");

    std::vector<std::uint32_t> content(4u << 20);
    std::iota(content.begin(), content.end(), 0u);
    std::vector<iovec> parts;
    auto rest = std::as_writable_bytes(std::span(content));
    for (std::size_t i = 0; !rest.empty(); ++i) {
        constexpr std::size_t kSizes[] = {1, 24, 4096, 65536, 7, 1u << 20, 0, 16384};
        const std::size_t size = std::min(rest.size(), kSizes[i % std::size(kSizes)]);
        parts.push_back({.iov_base = rest.data(), .iov_len = size});
        rest = rest.subspan(size);
    }
    auto sending = std::async(std::launch::async, [&]() -> Result<> {
        TRY(client->write_all(parts));
        return client->shutdown();
    });
    std::vector<std::uint32_t> received(content.size());
    ASSERT_TRUE(server->read_all(std::as_writable_bytes(std::span(received))));
    EXPECT_EQ(content, received);
    std::byte more{};
    const auto end = server->read_some(std::span(&more, 1));
    ASSERT_TRUE(end);
    EXPECT_EQ(*end, 0u);
    EXPECT_TRUE(sending.get());
    EXPECT_EQ(client->bytes_sent(), server->bytes_received());
}

TEST_F(TlsChannelTest, WaitingTellsDataFromSilenceAndFromTheEnd) {
    auto accepting = accept_as(context("beta"));
    auto client = TlsChannel::connect(context("alpha"), there(), "beta", soon());
    ASSERT_TRUE(client);
    auto server = accepting.get();
    ASSERT_TRUE(server);
    EXPECT_FALSE(*server->wait_readable(Deadline::after(1ms)));
    ASSERT_TRUE(client->write_all(os::as_bytes("x")));
    EXPECT_TRUE(*server->wait_readable(soon()));
    EXPECT_TRUE(server->has_buffered());
    std::byte one{};
    EXPECT_EQ(*server->read_some(std::span(&one, 1)), 1u);
    ASSERT_TRUE(client->shutdown());
    EXPECT_TRUE(*server->wait_readable(soon()));
}

TEST_F(TlsChannelTest, APeerThatVanishesIsGone) {
    auto accepting = accept_as(context("beta"));
    auto client = TlsChannel::connect(context("alpha"), there(), "beta", soon());
    ASSERT_TRUE(client);
    {
        auto dropped = accepting.get();
    }
    std::byte one{};
    const auto read = client->read_all(std::span(&one, 1));
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind(), Error::Kind::Gone);
}

TEST_F(TlsChannelTest, SilenceEndsAtTheIdleTimeout) {
    auto accepting = accept_as(context("beta"));
    auto client = TlsChannel::connect(context("alpha"), there(), "beta", soon());
    ASSERT_TRUE(client);
    auto server = accepting.get();
    client->set_idle_timeout(10ms);
    std::byte one{};
    const auto read = client->read_some(std::span(&one, 1));
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code(), ETIMEDOUT);
}

TEST_F(TlsChannelTest, TheInterruptDescriptorEndsABlockedWrite) {
    auto accepting = accept_as(context("beta"));
    auto client = TlsChannel::connect(context("alpha"), there(), "beta", soon());
    ASSERT_TRUE(client);
    auto server = accepting.get();  // never reads
    auto control = os::socketpair(AF_UNIX, SOCK_STREAM);
    ASSERT_TRUE(control);
    client->interrupt_on(control->first.get());
    auto writing = std::async(std::launch::async, [&]() -> Result<> {
        const std::vector<std::byte> block(1u << 20);
        for (;;) TRY(client->write_all(block));
    });
    control->second.reset();
    const auto result = writing.get();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind(), Error::Kind::Aborted);
}

TEST_F(TlsChannelTest, NobodyListeningIsConnectionRefused) {
    std::uint16_t free_port = 0;
    {
        const auto gone = Listener::bind({.host = "127.0.0.1", .port = 0});
        ASSERT_TRUE(gone);
        free_port = gone->port();
    }
    const auto client = TlsChannel::connect(
        context("alpha"), {.host = "127.0.0.1", .port = free_port}, "beta", soon());
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().code(), ECONNREFUSED);
    EXPECT_NE(client.error().message().find("nobody listens"), std::string::npos);
}

TEST_F(TlsChannelTest, APeerOfAForeignCaIsRefusedByBothSides) {
    auto accepting = accept_as(context("beta", "/foreign"));
    const auto client = TlsChannel::connect(context("alpha"), there(), "beta", soon());
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().kind(), Error::Kind::Peer);
    EXPECT_NE(client.error().message().find("not of our CA"), std::string::npos)
        << client.error().message();
    const auto server = accepting.get();
    ASSERT_FALSE(server);
    EXPECT_NE(server.error().message().find("refuses our certificate"), std::string::npos)
        << server.error().message();
}

TEST_F(TlsChannelTest, AClientOfAForeignCaLearnsThatItIsRefused) {
    auto accepting = accept_as(context("beta"));
    // The client trusts the right CA but shows a certificate of another.
    auto identity = TlsIdentity::in_directory(directory_.path() + "/foreign", "alpha");
    identity.ca = directory_.path() + "/home/ca.crt";
    auto mixed = TlsContext::load(identity);
    ASSERT_TRUE(mixed);
    const auto client = TlsChannel::connect(*mixed, there(), "beta", soon());
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().kind(), Error::Kind::Peer);
    EXPECT_NE(client.error().message().find("refuses our certificate"), std::string::npos)
        << client.error().message();
    const auto server = accepting.get();
    ASSERT_FALSE(server);
    EXPECT_NE(server.error().message().find("not of our CA"), std::string::npos)
        << server.error().message();
}

TEST_F(TlsChannelTest, ACertificateForAnotherNameIsRefused) {
    auto accepting = accept_as(context("beta"));
    const auto client = TlsChannel::connect(context("alpha"), there(), "gamma", soon());
    ASSERT_FALSE(client);
    EXPECT_NE(client.error().message().find("is for beta, not for gamma"), std::string::npos)
        << client.error().message();
    EXPECT_FALSE(accepting.get());
}

TEST_F(TlsChannelTest, AnAddressInTheCertificateServesAsName) {
    auto accepting = accept_as(context("beta"));
    EXPECT_TRUE(TlsChannel::connect(context("alpha"), there(), "127.0.0.1", soon()));
    EXPECT_TRUE(accepting.get());
    auto again = accept_as(context("beta"));
    EXPECT_FALSE(TlsChannel::connect(context("alpha"), there(), "127.0.0.2", soon()));
    EXPECT_FALSE(again.get());
}

TEST_F(TlsChannelTest, APeerWithoutTlsIsNamed) {
    for (const char* answer : {"SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", ""}) {
        auto answering = answer_plainly(answer);
        const auto client = TlsChannel::connect(context("alpha"), there(), "beta", soon());
        answering.get();
        ASSERT_FALSE(client);
        EXPECT_EQ(client.error().kind(), Error::Kind::Peer);
        EXPECT_NE(client.error().message().find("no Ferry agent"), std::string::npos)
            << client.error().message();
    }
}

TEST_F(TlsChannelTest, AClientWithoutTlsIsNamed) {
    auto accepting = accept_as(context("beta"));
    auto socket = os::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(listener_.port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(
        ::connect(socket->get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_TRUE(os::write_all(socket->get(), os::as_bytes("GET / HTTP/1.1\r\n\r\n")));
    const auto server = accepting.get();
    ASSERT_FALSE(server);
    EXPECT_EQ(server.error().kind(), Error::Kind::Peer);
}

TEST_F(TlsChannelTest, StrangersAreTurnedAwayUntilTheExpectedPeerComes) {
    auto accepting = std::async(std::launch::async, [&] {
        return accept_peer(listener_, context("beta"), "alpha", soon(), -1);
    });
    {
        auto stranger = os::socket(AF_INET, SOCK_STREAM, 0);
        const auto address = os::resolve("127.0.0.1", listener_.port());
        ASSERT_TRUE(os::connect(stranger->get(), address->front()));
        ASSERT_TRUE(os::write_all(stranger->get(), os::as_bytes("GET / HTTP/1.1\r\n\r\n")));
    }
    EXPECT_FALSE(TlsChannel::connect(context("beta"), there(), "beta", soon()));
    EXPECT_FALSE(TlsChannel::connect(context("alpha", "/foreign"), there(), "beta", soon()));
    EXPECT_TRUE(TlsChannel::connect(context("alpha"), there(), "beta", soon()));
    const auto server = accepting.get();
    ASSERT_TRUE(server) << server.error().message();
    EXPECT_EQ(server->peer_name(), "alpha");
}

TEST_F(TlsChannelTest, APeerThatNeverAnswersTimesOut) {
    // The kernel completes the connection; nobody accepts it.
    const auto client =
        TlsChannel::connect(context("alpha"), there(), "beta", Deadline::after(10ms));
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().code(), ETIMEDOUT);
}

}  // namespace
}  // namespace ferry::net
