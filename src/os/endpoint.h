// Sockets of any family: peers, shutdown, sending and receiving with flags, peeking. Blocking
// behaviour is that of the descriptor; MSG_NOSIGNAL is always added. EINTR is retried. socket() is
// in os/socket.h, connect() and bind() in os/inet.h.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "os/fd.h"
#include "os/inet.h"

namespace ferry::os {

// An address made of one of the kernel's structures (sockaddr_in, ...).
template <class T>
[[nodiscard]] SocketAddress make_address(const T& address) {
    SocketAddress result;
    reinterpret_cast<T&>(result.storage) = address;
    result.size = sizeof(T);
    return result;
}
// The address as one of them; the caller has looked at the family.
template <class T>
[[nodiscard]] const T& address_as(const SocketAddress& address) {
    return reinterpret_cast<const T&>(address.storage);
}

Result<SocketAddress> getpeername(int socket);
// how: SHUT_RD, SHUT_WR or SHUT_RDWR.
Result<> shutdown(int socket, int how);

Result<std::size_t> send(int socket, std::span<const std::byte> from, int flags);
// address == nullptr: as send().
Result<std::size_t> sendto(int socket, std::span<const std::byte> from, int flags,
                           const SocketAddress* address);
Result<std::size_t> recv(int socket, std::span<std::byte> into, int flags);

struct PeekedMessage {
    std::size_t bytes = 0;  // of the message as it was sent (MSG_TRUNC), may exceed the buffer
    bool carries_rights = false;  // descriptors (SCM_RIGHTS) travel with it
    SocketAddress sender;         // size 0: unnamed
};
// recvmsg(MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC): the queue is not changed. Duplicates of descriptors
// that travel with the message are closed at once.
Result<PeekedMessage> peek_message(int socket, std::span<std::byte> into);

}  // namespace ferry::os
