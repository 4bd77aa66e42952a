// Stream sockets of the network, and poll(2).
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::os {

// An address as the kernel wants it, of any family.
struct SocketAddress {
    sockaddr_storage storage = {};
    socklen_t size = 0;

    [[nodiscard]] const sockaddr* raw() const {
        return reinterpret_cast<const sockaddr*>(&storage);
    }
    [[nodiscard]] int family() const { return storage.ss_family; }
    // Of an IPv4 or IPv6 address; 0 otherwise.
    [[nodiscard]] std::uint16_t port() const;
};

// getaddrinfo(3) for TCP. A name that does not resolve is Error::Kind::Invalid. Blocks on DNS.
Result<std::vector<SocketAddress>> resolve(const std::string& host, std::uint16_t port);

// On a non-blocking socket EINPROGRESS is success: poll for POLLOUT, then read SO_ERROR.
Result<> connect(int socket, const SocketAddress& to);
Result<> bind(int socket, const SocketAddress& at);
Result<> listen(int socket, int backlog);
// The accepted socket is close-on-exec and has the given SOCK_NONBLOCK or 0.
Result<UniqueFd> accept4(int socket, int flags);
Result<SocketAddress> getsockname(int socket);
// "10.0.0.2:80" or "[fe80::1]:80" (getnameinfo(3), numeric).
Result<std::string> to_string(const SocketAddress& address);

// Interrupted by a signal counts as nothing ready (0). Negative descriptors are skipped.
Result<int> poll(std::span<pollfd> fds, int timeout_ms);

// One non-blocking attempt. `would_block` says that nothing moved; 0 bytes received without it is
// the end of the stream. A connection reset by the peer is Error::Kind::Gone.
struct Moved {
    std::size_t bytes = 0;
    bool would_block = false;
};
Result<Moved> send_some(int socket, std::span<const std::byte> data);
Result<Moved> receive_some(int socket, std::span<std::byte> into);

}  // namespace ferry::os
