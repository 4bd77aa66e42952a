#include "os/endpoint.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "os/socket.h"

namespace ferry::os {
namespace {

std::unexpected<Error> failed(int code, const char* call, int socket) {
    return fail(Error::system(code, fmt::format("{}({})", call, socket)));
}

}  // namespace

Result<SocketAddress> getpeername(int socket) {
    SocketAddress address;
    address.size = sizeof(address.storage);
    if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address.storage), &address.size) == 0) {
        return address;
    }
    const int code = errno;
    return failed(code, "getpeername", socket);
}

Result<> shutdown(int socket, int how) {
    if (::shutdown(socket, how) == 0) return {};
    const int code = errno;
    return failed(code, "shutdown", socket);
}

Result<std::size_t> sendto(int socket, std::span<const std::byte> from, int flags,
                           const SocketAddress* address) {
    for (;;) {
        const ssize_t n = ::sendto(socket, from.data(), from.size(), flags | MSG_NOSIGNAL,
                                   address != nullptr ? address->raw() : nullptr,
                                   address != nullptr ? address->size : 0);
        if (n >= 0) return static_cast<std::size_t>(n);
        const int code = errno;
        if (code != EINTR) return failed(code, "send", socket);
    }
}

Result<std::size_t> send_rights(int socket, std::span<const std::byte> from, int flags,
                                const SocketAddress* address, std::span<const int> rights) {
    CHECK(!rights.empty() && rights.size() <= kScmFdsMax);
    std::vector<std::byte> bytes(from.begin(), from.end());  // sendmsg(2) takes no const
    iovec part = {.iov_base = bytes.data(), .iov_len = bytes.size()};
    SocketAddress to = address != nullptr ? *address : SocketAddress();
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kScmFdsMax)] = {};
    msghdr message = {};
    if (address != nullptr) {
        message.msg_name = &to.storage;
        message.msg_namelen = to.size;
    }
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(rights.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(rights.size_bytes());
    std::memcpy(CMSG_DATA(header), rights.data(), rights.size_bytes());
    for (;;) {
        const ssize_t n = ::sendmsg(socket, &message, flags | MSG_NOSIGNAL);
        if (n >= 0) return static_cast<std::size_t>(n);
        const int code = errno;
        if (code != EINTR) return failed(code, "sendmsg", socket);
    }
}

Result<std::size_t> send(int socket, std::span<const std::byte> from, int flags) {
    return sendto(socket, from, flags, nullptr);
}

Result<std::size_t> recv(int socket, std::span<std::byte> into, int flags) {
    for (;;) {
        const ssize_t n = ::recv(socket, into.data(), into.size(), flags);
        if (n >= 0) return static_cast<std::size_t>(n);
        const int code = errno;
        if (code != EINTR) return failed(code, "recv", socket);
    }
}

Result<PeekedMessage> peek_message(int socket, std::span<std::byte> into) {
    iovec part = {.iov_base = into.data(), .iov_len = into.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kScmFdsMax) + 512] = {};
    PeekedMessage peeked;
    msghdr message = {};
    message.msg_name = &peeked.sender.storage;
    message.msg_namelen = sizeof(peeked.sender.storage);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    constexpr int kFlags = MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC;
    ssize_t n = ::recvmsg(socket, &message, kFlags);
    while (n < 0 && errno == EINTR) n = ::recvmsg(socket, &message, kFlags);
    if (n < 0) {
        const int code = errno;
        return failed(code, "recvmsg", socket);
    }
    peeked.bytes = static_cast<std::size_t>(n);
    peeked.sender.size = message.msg_namelen;
    for (cmsghdr* h = CMSG_FIRSTHDR(&message); h != nullptr; h = CMSG_NXTHDR(&message, h)) {
        constexpr int kSenderPidfd = 4;  // SCM_PIDFD (Linux 6.5)
        const bool is_pidfd = h->cmsg_type == kSenderPidfd;
        if (h->cmsg_level != SOL_SOCKET || (h->cmsg_type != SCM_RIGHTS && !is_pidfd)) continue;
        const std::size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int number = -1;
            std::memcpy(&number, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
            UniqueFd fd(number);
            if (!is_pidfd) peeked.rights.push_back(std::move(fd));
        }
    }
    if ((message.msg_flags & MSG_CTRUNC) != 0) {
        return fail(Error::limit("more descriptors travel with a message than there is room for"));
    }
    return peeked;
}

Result<std::size_t> peek_before_last(int socket, std::span<std::byte> scratch) {
    std::array<iovec, 2> parts = {{{.iov_base = scratch.data(), .iov_len = scratch.size()},
                                   {.iov_base = nullptr, .iov_len = 1}}};
    msghdr message = {};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    for (;;) {
        const ssize_t n = ::recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT);
        if (n >= 0) return static_cast<std::size_t>(n);
        const int code = errno;
        if (code == EFAULT) return std::size_t{0};
        if (code != EINTR) return failed(code, "recvmsg", socket);
    }
}

}  // namespace ferry::os
