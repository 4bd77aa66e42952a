#include "net/tls_listener.h"

#include <chrono>
#include <utility>

#include "base/log.h"

namespace ferry::net {
namespace {

// A handshake takes two round trips and some milliseconds of computing.
constexpr std::chrono::seconds kHandshakeTimeout{5};

}  // namespace

Result<TlsChannel> accept_peer(const Listener& listener, const TlsContext& context,
                               const std::string& expected_peer, Deadline deadline, int interrupt) {
    std::string turned_away;
    for (;;) {
        auto socket = listener.accept(deadline, interrupt);
        if (!socket) {
            if (turned_away.empty()) return fail(std::move(socket.error()));
            return fail(std::move(socket.error()).context("turned away: " + turned_away));
        }
        auto channel = TlsChannel::accept(context, std::move(*socket), expected_peer,
                                          Deadline::after(kHandshakeTimeout), interrupt);
        if (channel || channel.error().kind() == Error::Kind::Aborted) return channel;
        turned_away = channel.error().message();
        log_debug("turned away: {}", turned_away);
    }
}

}  // namespace ferry::net
