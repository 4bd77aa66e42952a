// Sockets that share a port, some of which have given up the option that let them in: they are
// there again, the option is as it was, and the port is still shared.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <initializer_list>

#include "victim.h"

namespace {

sockaddr_in loopback(in_port_t port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = port;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}
void set(int fd, int option, int value) {
    setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value));
}
void expect(int fd, int option, int wanted, const char* what) {
    int value = -1;
    socklen_t size = sizeof(value);
    getsockopt(fd, SOL_SOCKET, option, &value, &size);
    if (value != wanted) victim::fail("%s is %d", what, value);
}
in_port_t port_of(int fd) {
    sockaddr_in address = {};
    socklen_t size = sizeof(address);
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    return address.sin_port;
}
int bound(int type, int option, in_port_t port) {
    const int fd = socket(AF_INET, type, 0);
    set(fd, option, 1);
    const sockaddr_in address = loopback(port);
    const auto* plain = reinterpret_cast<const sockaddr*>(&address);
    if (bind(fd, plain, sizeof(address)) != 0) victim::fail("bind to port %d", ntohs(port));
    return fd;
}
struct Pair {
    int keeps, gave_up;
};
Pair share(int type, int option) {
    const int gave_up = bound(type, option, 0);
    return {bound(type, option, port_of(gave_up)), gave_up};
}
void check(const Pair& pair, int option, const char* what) {
    expect(pair.keeps, option, 1, what);
    expect(pair.gave_up, option, 0, what);
    if (port_of(pair.keeps) != port_of(pair.gave_up)) victim::fail("%s: two ports", what);
}

}  // namespace

int main() {
    victim::arm();
    const Pair listeners = share(SOCK_STREAM, SO_REUSEPORT);
    if (listen(listeners.gave_up, 8) != 0 || listen(listeners.keeps, 8) != 0)
        victim::fail("listen");
    const Pair datagrams = share(SOCK_DGRAM, SO_REUSEPORT);
    const Pair streams = share(SOCK_STREAM, SO_REUSEADDR);
    const Pair channels = share(SOCK_DGRAM, SO_REUSEADDR);
    for (const Pair& pair : {listeners, datagrams}) set(pair.gave_up, SO_REUSEPORT, 0);
    for (const Pair& pair : {streams, channels}) set(pair.gave_up, SO_REUSEADDR, 0);
    victim::wait_for_end();
    check(listeners, SO_REUSEPORT, "SO_REUSEPORT of a listener");
    check(datagrams, SO_REUSEPORT, "SO_REUSEPORT of a UDP socket");
    check(streams, SO_REUSEADDR, "SO_REUSEADDR of a TCP socket");
    check(channels, SO_REUSEADDR, "SO_REUSEADDR of a UDP socket");
    const int client = socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in to = loopback(port_of(listeners.keeps));
    const auto* plain = reinterpret_cast<const sockaddr*>(&to);
    if (connect(client, plain, sizeof(to)) != 0) victim::fail("connect");
    pollfd polled[] = {{listeners.keeps, POLLIN, 0}, {listeners.gave_up, POLLIN, 0}};
    if (poll(polled, 2, -1) != 1) victim::fail("the client is nobody's");
    victim::pass();
}
