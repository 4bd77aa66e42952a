// A listening TCP socket listens again, at its port, and accepts.
#include <arpa/inet.h>
#include <sys/socket.h>

#include "victim.h"

int main() {
    victim::arm();
    const int listener = socket(AF_INET6, SOCK_STREAM, 0);
    const int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    sockaddr_in6 address = {};
    address.sin6_family = AF_INET6;
    socklen_t size = sizeof(address);
    if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0) victim::fail("bind");
    if (listen(listener, 17) != 0) victim::fail("listen");
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    const in_port_t port = address.sin6_port;
    victim::wait_for_end();
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    if (address.sin6_port != port) victim::fail("port %d", ntohs(address.sin6_port));
    int value = 0;
    socklen_t value_size = sizeof(value);
    getsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &value, &value_size);
    if (value != 1) victim::fail("SO_REUSEADDR is lost");
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = port;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int client = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(client, reinterpret_cast<sockaddr*>(&to), sizeof(to)) != 0) victim::fail("connect");
    if (accept(listener, nullptr, nullptr) < 0) victim::fail("accept");
    victim::pass();
}
