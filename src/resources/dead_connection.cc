#include "resources/dead_connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>

#include "os/endpoint.h"
#include "os/socket.h"

namespace ferry::resources {
namespace {

os::SocketAddress loopback_address(int family, in_port_t port) {
    if (family == AF_INET) {
        return os::make_address(sockaddr_in{.sin_family = AF_INET,
                                            .sin_port = port,
                                            .sin_addr = {htonl(INADDR_LOOPBACK)},
                                            .sin_zero = {}});
    }
    sockaddr_in6 mapped = {};  // ::ffff:127.0.0.1: there may be no IPv6
    mapped.sin6_family = AF_INET6;
    mapped.sin6_port = port;
    mapped.sin6_addr.s6_addr[10] = mapped.sin6_addr.s6_addr[11] = 0xff;
    mapped.sin6_addr.s6_addr[12] = 127;
    mapped.sin6_addr.s6_addr[15] = 1;
    return os::make_address(mapped);
}

}  // namespace

Result<os::UniqueFd> open_reset_connection(int family) {
    const os::UniqueFd listener = TRY(os::socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
    TRY(os::bind(listener.get(), loopback_address(AF_INET, 0)));
    TRY(os::listen(listener.get(), 1));
    const in_port_t port = htons(TRY(os::getsockname(listener.get())).port());
    os::UniqueFd opened = TRY(os::socket(family, SOCK_STREAM, IPPROTO_TCP));
    TRY(os::connect(opened.get(), loopback_address(family, port)));
    {
        const os::UniqueFd peer = TRY(os::accept4(listener.get(), 0));
        const linger abort = {.l_onoff = 1, .l_linger = 0};
        TRY(os::setsockopt(peer.get(), SOL_SOCKET, SO_LINGER, abort));
    }
    constexpr int kArrivalMs = 200;
    std::array<pollfd, 1> polled = {{{.fd = opened.get(), .events = 0, .revents = 0}}};
    if (TRY(os::poll(polled, kArrivalMs)) == 0) {
        return fail(Error::make(Error::Kind::Aborted,
                                "a reset did not arrive through loopback: is a packet filter in "
                                "the way?"));
    }
    return opened;
}

}  // namespace ferry::resources
