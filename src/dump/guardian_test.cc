#include "dump/guardian.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "os/socket.h"

namespace ferry::dump {
namespace {

os::UniqueFd bound_socket() {
    auto socket = os::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(socket->get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    return std::move(*socket);
}

bool in_repair(int socket) {
    return *os::getsockopt<int>(socket, IPPROTO_TCP, TCP_REPAIR) != 0;
}

// Starts a guardian in a child, puts the socket into repair, and kills the child with SIGKILL.
void die_with_socket_in_repair(int socket, bool registered) {
    auto ready = os::pipe2(0);
    const pid_t child = ::fork();
    if (child == 0) {
        auto guardian = Guardian::start();
        if (registered) (*guardian)->add(socket, true);
        static_cast<void>(os::setsockopt(socket, IPPROTO_TCP, TCP_REPAIR, 1));
        static_cast<void>(os::write(ready->second.get(), os::as_bytes("x")));
        for (;;) ::pause();
    }
    std::byte byte;
    ASSERT_TRUE(os::read_all(ready->first.get(), std::span(&byte, 1)).has_value());
    ASSERT_TRUE(in_repair(socket));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    for (int i = 0; i < 200 && in_repair(socket); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

TEST(Guardian, EndsRepairWhenItsProcessIsKilled) {
    const os::UniqueFd socket = bound_socket();
    die_with_socket_in_repair(socket.get(), true);
    EXPECT_FALSE(in_repair(socket.get()));
    EXPECT_EQ(*os::getsockopt<int>(socket.get(), SOL_SOCKET, SO_REUSEADDR), 1);
}

TEST(Guardian, LeavesEverythingAloneAfterACleanEnd) {
    const os::UniqueFd socket = bound_socket();
    {
        auto guardian = Guardian::start();
        ASSERT_TRUE(guardian.has_value());
        (*guardian)->add(socket.get(), false);
        ASSERT_TRUE(os::setsockopt(socket.get(), IPPROTO_TCP, TCP_REPAIR, 1).has_value());
        EXPECT_EQ(::kill((*guardian)->pid(), 0), 0);
    }
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);  // it has been reaped
    EXPECT_TRUE(in_repair(socket.get()));
}

TEST(Guardian, KeepsItsTableShort) {
    auto guardian = Guardian::start();
    ASSERT_TRUE(guardian.has_value());
    for (int round = 0; round < 3; ++round) {
        for (int fd = 100; fd < 1100; ++fd) (*guardian)->add(fd, false);
        for (int fd = 1099; fd >= 100; --fd) (*guardian)->remove(fd);
    }
}

}  // namespace
}  // namespace ferry::dump
