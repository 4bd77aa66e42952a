// Sockets of any family: peers, shutdown, sending and receiving with flags, peeking. Blocking
// behaviour is that of the descriptor; MSG_NOSIGNAL is always added. EINTR is retried. socket() is
// in os/socket.h, connect() and bind() in os/inet.h.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

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
// sendmsg(2) with descriptors (SCM_RIGHTS), at most kScmFdsMax.
Result<std::size_t> send_rights(int socket, std::span<const std::byte> from, int flags,
                                const SocketAddress* address, std::span<const int> rights);
Result<std::size_t> recv(int socket, std::span<std::byte> into, int flags);

struct PeekedMessage {
    std::size_t bytes = 0;  // of the message as it was sent (MSG_TRUNC), may exceed the buffer
    std::vector<UniqueFd> rights;  // duplicates of the descriptors that travel with it (SCM_RIGHTS)
    SocketAddress sender;          // size 0: unnamed
};
// recvmsg(MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC): the queue is not changed. Limit: we cannot have as
// many descriptors as travel with the message.
Result<PeekedMessage> peek_message(int socket, std::span<std::byte> into);

// A stream socket keeps apart what was sent at once, but shows no borders to a peek. How many bytes
// lie before the part in which the peek's byte number `scratch.size()` is: what it has no room for
// makes it give up that whole part (EFAULT; net/unix/af_unix.c, unix_stream_read_generic).
Result<std::size_t> peek_before_last(int socket, std::span<std::byte> scratch);

}  // namespace ferry::os
