// Datagrams that have arrived and were not read are there afterwards, in their order, from the same
// senders; also those of a socket that is bound to no address, and of a connected one.
#include <arpa/inet.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "victim.h"

namespace {

sockaddr_in address_of(int fd) {
    sockaddr_in address = {};
    socklen_t size = sizeof(address);
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    return address;
}

int bound_to(in_addr_t where) {
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(where);
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
        victim::fail("bind: %d", errno);
    }
    return fd;
}

void send_to(int from, int to, const std::string& text) {
    sockaddr_in address = address_of(to);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (sendto(from, text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&address),
               sizeof(address)) < 0) {
        victim::fail("sendto: %d", errno);
    }
}

void expect(const char* what, int fd, const std::string& text, int sender) {
    char buffer[70'000];
    sockaddr_in from = {};
    socklen_t size = sizeof(from);
    const ssize_t n = recvfrom(fd, buffer, sizeof(buffer), MSG_DONTWAIT,
                               reinterpret_cast<sockaddr*>(&from), &size);
    const bool same = n == static_cast<ssize_t>(text.size()) &&
                      std::memcmp(buffer, text.data(), text.size()) == 0;
    if (!same) victim::fail("%s: %zd bytes, error %d", what, n, n < 0 ? errno : 0);
    if (from.sin_port != address_of(sender).sin_port) {
        victim::fail("%s: from port %d", what, ntohs(from.sin_port));
    }
}

}  // namespace

int main() {
    victim::arm();
    const int one = bound_to(INADDR_LOOPBACK);
    const int any = bound_to(INADDR_ANY);
    const int sender = bound_to(INADDR_LOOPBACK);
    const int connected = bound_to(INADDR_LOOPBACK);
    const sockaddr_in peer = address_of(sender);
    if (connect(connected, reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)) != 0) {
        victim::fail("connect: %d", errno);
    }
    const std::string large(60'000, 'x');
    send_to(sender, one, "first");
    send_to(sender, one, "");
    send_to(any, one, large);
    send_to(sender, any, "to any address");
    send_to(sender, connected, "to the connected one");
    victim::wait_for_end();
    expect("first", one, "first", sender);
    expect("empty", one, "", sender);
    expect("large", one, large, any);
    expect("any", any, "to any address", sender);
    expect("connected", connected, "to the connected one", sender);
    char byte = 0;
    if (recv(one, &byte, 1, MSG_DONTWAIT) != -1) victim::fail("one too many");
    victim::pass();
}
