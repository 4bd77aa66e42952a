#include "net/listener.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>

#include "os/inet.h"
#include "os/socket.h"

namespace ferry::net {

Result<Listener> Listener::bind(const Endpoint& at) {
    const auto addresses = TRY(os::resolve(at.host, at.port));
    const os::SocketAddress& address = addresses.front();
    os::UniqueFd socket =
        TRY(os::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK, IPPROTO_TCP));
    TRY(os::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1));
    TRY(with_context(os::bind(socket.get(), address), at.to_string()));
    TRY(os::listen(socket.get(), 16));
    const os::SocketAddress bound = TRY(os::getsockname(socket.get()));
    return Listener(std::move(socket), bound.port());
}

Result<os::UniqueFd> Listener::accept(Deadline deadline, int interrupt) const {
    for (;;) {
        std::array<pollfd, 2> fds = {pollfd{.fd = socket_.get(), .events = POLLIN, .revents = 0},
                                     pollfd{.fd = interrupt, .events = POLLIN, .revents = 0}};
        TRY(os::poll(fds, deadline.poll_timeout()));
        if (fds[1].revents != 0) return fail(Error::aborted("interrupted"));
        if (fds[0].revents != 0) {
            auto accepted = os::accept4(socket_.get(), SOCK_NONBLOCK);
            if (accepted) return accepted;
            // The peer may have given up between poll and accept; the network's own errors pass
            // through here as well (accept(2), "Error handling").
            const int code = accepted.error().code();
            const bool transient = code == EAGAIN || code == ECONNABORTED || code == ENETDOWN ||
                                   code == EPROTO || code == EHOSTDOWN || code == EHOSTUNREACH ||
                                   code == ENETUNREACH || code == ENONET;
            if (!transient) return accepted;
        }
        if (deadline.passed()) {
            return fail(Error::system(ETIMEDOUT, fmt::format("no connection on port {}", port_)));
        }
    }
}

}  // namespace ferry::net
