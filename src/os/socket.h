// Local sockets with descriptor passing. Network transports live in net/.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::os {

// A descriptor travels at most in groups of this many (SCM_MAX_FD, unix(7)).
inline constexpr std::size_t kScmFdsMax = 253;

Result<UniqueFd> socket(int family, int type, int protocol);
Result<std::pair<UniqueFd, UniqueFd>> socketpair(int family, int type, int protocol = 0);
// One message with descriptors. Never raises SIGPIPE; EPIPE/ECONNRESET are Kind::Gone.
Result<> send_with_fds(int socket, std::span<const std::byte> data, std::span<const int> fds);
struct Received {
    std::size_t bytes = 0;  // 0 means the peer has closed
    std::vector<UniqueFd> fds;
};
Result<Received> receive_with_fds(int socket, std::span<std::byte> into);

// setsockopt/getsockopt for plain values.
template <class T>
Result<> setsockopt(int socket, int level, int option, const T& value);
template <class T>
Result<T> getsockopt(int socket, int level, int option);

Result<> setsockopt_bytes(int socket, int level, int option, std::span<const std::byte> value);
// Returns the number of bytes the kernel wrote.
Result<std::size_t> getsockopt_bytes(int socket, int level, int option, std::span<std::byte> value);

template <class T>
Result<> setsockopt(int socket, int level, int option, const T& value) {
    return setsockopt_bytes(socket, level, option, std::as_bytes(std::span(&value, 1)));
}
template <class T>
Result<T> getsockopt(int socket, int level, int option) {
    T value{};
    TRY(getsockopt_bytes(socket, level, option, std::as_writable_bytes(std::span(&value, 1))));
    return value;
}

}  // namespace ferry::os
