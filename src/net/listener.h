// A TCP socket that waits for connections.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "net/deadline.h"
#include "net/endpoint.h"
#include "os/fd.h"

namespace ferry::net {

class Listener {
  public:
    // Port 0 lets the kernel choose; port() tells.
    static Result<Listener> bind(const Endpoint& at);

    // The next connection, ready for TlsChannel::accept. ETIMEDOUT after the deadline; Aborted once
    // `interrupt` is readable (-1: none).
    Result<os::UniqueFd> accept(Deadline deadline, int interrupt = -1) const;
    [[nodiscard]] std::uint16_t port() const { return port_; }
    [[nodiscard]] int fd() const { return socket_.get(); }

  private:
    Listener(os::UniqueFd socket, std::uint16_t port) : socket_(std::move(socket)), port_(port) {}
    os::UniqueFd socket_;
    std::uint16_t port_;
};

}  // namespace ferry::net
