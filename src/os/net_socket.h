// bind(2), connect(2), sendto(2) and recvmsg(2) with any address family; for netlink, packet and
// raw sockets.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <optional>
#include <span>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::os {

// The address is a sockaddr_* of the socket's family.
Result<> bind_address(int socket, std::span<const std::byte> address);
template <class Sockaddr>
Result<> bind_address(int socket, const Sockaddr& address) {
    return bind_address(socket, std::as_bytes(std::span(&address, 1)));
}

// The whole datagram, or an error. An empty address sends to the connected or kernel peer.
Result<> send_to(int socket, std::span<const std::byte> data,
                 std::span<const std::byte> address = {});
template <class Sockaddr>
Result<> send_to(int socket, std::span<const std::byte> data, const Sockaddr& address) {
    return send_to(socket, data, std::as_bytes(std::span(&address, 1)));
}

// recvmsg(2) with exactly these flags (packet sockets refuse MSG_CMSG_CLOEXEC, so not for
// descriptors). Absent: MSG_DONTWAIT and nothing there (EAGAIN). With MSG_TRUNC in flags the count
// is the true length, which may exceed the buffer.
Result<std::optional<std::size_t>> receive_message(int socket, msghdr& message, int flags);

}  // namespace ferry::os
