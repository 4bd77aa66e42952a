// A connection against a server that closes, resets or falls silent when the test wants it to.
#include "lab/http_connection.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <functional>
#include <thread>

#include "os/endpoint.h"
#include "os/inet.h"
#include "os/socket.h"

namespace ferry::lab {
namespace {

using namespace std::chrono_literals;

constexpr const char* kAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

// Accepts connections one after the other and gives each to `serve` with its number.
class Server {
  public:
    explicit Server(std::function<void(int connection, int number)> serve)
        : serve_(std::move(serve)) {
        listener_ = std::move(*os::socket(AF_INET, SOCK_STREAM, 0));
        sockaddr_in loopback = {};
        loopback.sin_family = AF_INET;
        loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_TRUE(os::bind(listener_.get(), os::make_address(loopback)));
        EXPECT_TRUE(os::listen(listener_.get(), 5));
        port_ = os::getsockname(listener_.get())->port();
        thread_ = std::thread([this] {
            for (int number = 0;; ++number) {
                const auto connection = os::accept4(listener_.get(), 0);
                if (!connection) return;
                serve_(connection->get(), number);
            }
        });
    }
    ~Server() {
        static_cast<void>(os::shutdown(listener_.get(), SHUT_RDWR));
        thread_.join();
    }
    [[nodiscard]] std::uint16_t port() const { return port_; }

    // Reads one request; false at the end.
    static bool read_request(int connection) {
        std::string text;
        std::array<std::byte, 1024> buffer;
        while (text.find("\r\n\r\n") == std::string::npos) {
            const auto got = os::recv(connection, buffer, 0);
            if (!got || *got == 0) return false;
            text.append(reinterpret_cast<const char*>(buffer.data()), *got);
        }
        return true;
    }
    static void answer(int connection) {
        static_cast<void>(os::write_all(connection, os::as_bytes(kAnswer)));
    }

  private:
    std::function<void(int, int)> serve_;
    os::UniqueFd listener_;
    std::uint16_t port_ = 0;
    std::thread thread_;
};

TEST(HttpConnection, ManyRequestsTakeOneConnection) {
    Server server([](int connection, int) {
        while (Server::read_request(connection)) Server::answer(connection);
    });
    const auto connection = HttpConnection::create("127.0.0.1", server.port());
    ASSERT_TRUE(connection);
    for (int i = 0; i < 5; ++i) {
        const auto answer = (*connection)->send("/", "", 5s);
        ASSERT_TRUE(answer) << answer.error().describe();
        EXPECT_EQ(answer->status, 200);
        EXPECT_EQ(answer->body, "ok");
    }
    EXPECT_EQ((*connection)->opened(), 1);
}

TEST(HttpConnection, AConnectionThatTheServerClosedIsNoticedAndNotReplacedSilently) {
    int requests = 0;
    {
        Server server([&](int connection, int) {
            if (Server::read_request(connection)) {
                ++requests;
                Server::answer(connection);
            }
        });
        const auto connection = HttpConnection::create("127.0.0.1", server.port());
        ASSERT_TRUE(connection);
        ASSERT_TRUE((*connection)->send("/", "", 5s));
        std::this_thread::sleep_for(50ms);  // the end of the first connection has arrived
        const auto second = (*connection)->send("/", "a=b", 5s);
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().kind(), Error::Kind::Gone) << second.error().describe();
        EXPECT_EQ((*connection)->opened(), 1);
        EXPECT_TRUE((*connection)->send("/", "", 5s));
        EXPECT_EQ((*connection)->opened(), 2);
    }
    EXPECT_EQ(requests, 2);  // the failed one was not sent
}

TEST(HttpConnection, ARequestThatIsCutOffIsNotSentAgain) {
    int requests = 0;
    {
        Server server([&](int connection, int number) {
            for (; Server::read_request(connection); ++requests) {
                if (number == 0 && requests == 1) break;  // closes without an answer
                Server::answer(connection);
            }
        });
        const auto connection = HttpConnection::create("127.0.0.1", server.port());
        ASSERT_TRUE(connection);
        ASSERT_TRUE((*connection)->send("/", "", 5s));
        const auto second = (*connection)->send("/", "a=b", 5s);
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().kind(), Error::Kind::Gone) << second.error().describe();
        EXPECT_EQ((*connection)->opened(), 1);
    }
    EXPECT_EQ(requests, 1);
}

TEST(HttpConnection, ASilentServerIsALimitAndNoBrokenConnection) {
    Server server([](int connection, int) {
        static_cast<void>(Server::read_request(connection));
        static_cast<void>(Server::read_request(connection));  // until the client closes
    });
    const auto connection = HttpConnection::create("127.0.0.1", server.port());
    ASSERT_TRUE(connection);
    const auto answer = (*connection)->send("/", "", 200ms);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind(), Error::Kind::Limit) << answer.error().describe();
}

TEST(HttpConnection, WhereNobodyListensNoConnectionHasBroken) {
    const auto connection = HttpConnection::create("127.0.0.1", 1);
    ASSERT_TRUE(connection);
    const auto answer = (*connection)->send("/", "", 5s);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind(), Error::Kind::Peer) << answer.error().describe();
}

}  // namespace
}  // namespace ferry::lab
