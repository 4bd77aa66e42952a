// Sockets of a user who is not root stay that user's: another one may share their port.
#include <netinet/in.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>

#include "victim.h"

namespace {

constexpr uid_t kUser = 1077;

int listener_of(uid_t user, in_port_t& port) {
    ::setfsuid(user);
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    ::setfsuid(0);
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    sockaddr_in at = {.sin_family = AF_INET,
                      .sin_port = port,
                      .sin_addr = {htonl(INADDR_LOOPBACK)},
                      .sin_zero = {}};
    socklen_t size = sizeof(at);
    auto* address = reinterpret_cast<sockaddr*>(&at);
    if (::bind(fd, address, size) != 0 || ::listen(fd, 8) != 0) {
        ::close(fd);
        return -1;
    }
    ::getsockname(fd, address, &size);
    port = at.sin_port;
    return fd;
}

uid_t owner_of(int fd) {
    struct stat status = {};
    ::fstat(fd, &status);
    return status.st_uid;
}

}  // namespace

int main() {
    victim::arm();
    in_port_t port = 0;
    const int first = listener_of(kUser, port);
    if (first < 0 || listener_of(0, port) >= 0) victim::fail("the kernel asks for no user");
    ::setfsuid(kUser);
    const std::array others = {::socket(AF_INET6, SOCK_DGRAM, 0), ::socket(AF_UNIX, SOCK_STREAM, 0),
                               ::socket(AF_NETLINK, SOCK_RAW, 0)};
    ::setfsuid(0);
    victim::wait_for_end();
    if (owner_of(first) != kUser) victim::fail("the listener is of user %u", owner_of(first));
    for (const int fd : others) {
        if (owner_of(fd) != kUser) victim::fail("socket %d is of user %u", fd, owner_of(fd));
    }
    if (listener_of(0, port) >= 0) victim::fail("another user shares the port");
    if (listener_of(kUser, port) < 0) victim::fail("the user cannot share the port any more");
    victim::pass();
}
