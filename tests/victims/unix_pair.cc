// Socket pairs keep what is queued in both directions, datagrams their boundaries.
#include <sys/socket.h>

#include <cstring>

#include "victim.h"

namespace {
void put(int fd, const char* text) {
    const std::size_t size = std::strlen(text);
    if (write(fd, text, size) != static_cast<ssize_t>(size)) victim::fail("write '%s'", text);
}
void expect(int fd, const char* wanted) {
    char text[64] = {};
    const ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
    if (n < 0 || std::strcmp(text, wanted) != 0) victim::fail("'%s' instead of '%s'", text, wanted);
}
}  // namespace

int main() {
    victim::arm();
    int stream[2];
    int datagram[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, stream) != 0) victim::fail("socketpair");
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, datagram) != 0) victim::fail("socketpair");
    put(stream[0], "there");
    put(stream[1], "back");
    put(datagram[0], "one");
    put(datagram[0], "two");
    victim::wait_for_end();
    expect(stream[1], "there");
    expect(stream[0], "back");
    expect(datagram[1], "one");
    expect(datagram[1], "two");
    put(stream[0], "again");
    expect(stream[1], "again");
    put(datagram[1], "answer");
    expect(datagram[0], "answer");
    close(stream[0]);
    char byte = 0;
    if (read(stream[1], &byte, 1) != 0) victim::fail("no end of file");
    victim::pass();
}
