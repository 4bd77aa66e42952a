// Connections that are written to all the time, by whoever runs first after a freeze, lose nothing.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>

#include "victim.h"

namespace {
constexpr int kConnections = 40;

struct Connection {
    int client = -1, server = -1;
    std::uint64_t sent = 0, received = 0;
};

Connection connect_to(int listener) {
    sockaddr_in address = {};
    socklen_t size = sizeof(address);
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    Connection made;
    made.client = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(made.client, reinterpret_cast<sockaddr*>(&address), size) != 0) {
        victim::fail("connect");
    }
    made.server = accept(listener, nullptr, nullptr);
    return made;
}

void talk(Connection& connection) {
    const std::uint64_t number = connection.sent++;
    if (send(connection.client, &number, sizeof(number), MSG_NOSIGNAL) != sizeof(number)) {
        victim::fail("send: %m");
    }
    std::uint64_t got = 0;
    if (recv(connection.server, &got, sizeof(got), MSG_WAITALL) != sizeof(got)) {
        victim::fail("recv: %m");
    }
    if (got != connection.received++) victim::fail("%lu out of turn", got);
}

// Blocked, so that it does not cut a transfer short.
bool told_to_end() {
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGTERM) == 1;
}
}  // namespace

int main() {
    victim::arm();
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
        victim::fail("bind");
    }
    if (listen(listener, kConnections) != 0) victim::fail("listen");
    std::array<Connection, kConnections> connections;
    for (Connection& connection : connections) connection = connect_to(listener);
    victim::leave_signal_to_main();
    victim::ready();
    while (!told_to_end()) {
        for (Connection& connection : connections) talk(connection);
    }
    victim::pass();
}
