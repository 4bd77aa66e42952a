// A TCP connection with both ends in one process keeps its queues and goes on.
#include <arpa/inet.h>
#include <sys/socket.h>

#include <cstring>
#include <string>

#include "victim.h"

namespace {
void expect(int fd, const std::string& wanted) {
    std::string got(wanted.size(), '\0');
    if (recv(fd, got.data(), got.size(), MSG_WAITALL) != static_cast<ssize_t>(got.size())) {
        victim::fail("recv of '%s'", wanted.c_str());
    }
    if (got != wanted) victim::fail("'%s' instead of '%s'", got.c_str(), wanted.c_str());
}
void put(int fd, const std::string& text) {
    if (send(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
        victim::fail("send of '%s'", text.c_str());
    }
}
}  // namespace

int main() {
    victim::arm();
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0) victim::fail("bind");
    if (listen(listener, 5) != 0) victim::fail("listen");
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    const int client = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(client, reinterpret_cast<sockaddr*>(&address), size) != 0) victim::fail("connect");
    const int server = accept(listener, nullptr, nullptr);
    put(client, "request");
    put(server, "greeting");
    victim::wait_for_end();
    expect(server, "request");
    expect(client, "greeting");
    put(server, "response");
    expect(client, "response");
    put(client, "bye");
    shutdown(client, SHUT_WR);
    expect(server, "bye");
    char byte = 0;
    if (recv(server, &byte, 1, 0) != 0) victim::fail("no end of the stream");
    victim::pass();
}
