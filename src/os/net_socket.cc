#include "os/net_socket.h"

#include <fmt/format.h>

#include <cerrno>

namespace ferry::os {

Result<> bind_address(int socket, std::span<const std::byte> address) {
    if (::bind(socket, reinterpret_cast<const sockaddr*>(address.data()),
               static_cast<socklen_t>(address.size())) == 0) {
        return {};
    }
    const int code = errno;
    return fail(Error::system(code, fmt::format("bind({})", socket)));
}

Result<> send_to(int socket, std::span<const std::byte> data, std::span<const std::byte> address) {
    const auto* to = address.empty() ? nullptr : reinterpret_cast<const sockaddr*>(address.data());
    for (;;) {
        const ssize_t n = ::sendto(socket, data.data(), data.size(), MSG_NOSIGNAL, to,
                                   static_cast<socklen_t>(address.size()));
        if (n >= 0) return {};
        const int code = errno;
        if (code == EINTR) continue;
        return fail(Error::system(code, fmt::format("sendto({}, {} bytes)", socket, data.size())));
    }
}

Result<std::optional<std::size_t>> receive_message(int socket, msghdr& message, int flags) {
    for (;;) {
        const ssize_t n = ::recvmsg(socket, &message, flags);
        if (n >= 0) return static_cast<std::size_t>(n);
        const int code = errno;
        if (code == EINTR) continue;
        if (code == EAGAIN) return std::nullopt;
        return fail(Error::system(code, fmt::format("recvmsg({})", socket)));
    }
}

}  // namespace ferry::os
