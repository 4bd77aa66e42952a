#include "os/socket.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace ferry::os {

Result<UniqueFd> socket(int family, int type, int protocol) {
    const int fd = ::socket(family, type | SOCK_CLOEXEC, protocol);
    if (fd < 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("socket({}, {}, {})", family, type, protocol)));
    }
    return UniqueFd(fd);
}

Result<std::pair<UniqueFd, UniqueFd>> socketpair(int family, int type, int protocol) {
    int fds[2];
    if (::socketpair(family, type | SOCK_CLOEXEC, protocol, fds) != 0) {
        const int code = errno;
        return fail(Error::system(code, "socketpair()"));
    }
    return std::pair(UniqueFd(fds[0]), UniqueFd(fds[1]));
}

Result<> send_with_fds(int socket, std::span<const std::byte> data, std::span<const int> fds) {
    CHECK(fds.size() <= kScmFdsMax);
    iovec part = {.iov_base = const_cast<std::byte*>(data.data()), .iov_len = data.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kScmFdsMax)] = {};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(fds.size_bytes());
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
    }
    for (;;) {
        const ssize_t n = ::sendmsg(socket, &message, MSG_NOSIGNAL);
        if (n >= 0) {
            CHECK(static_cast<std::size_t>(n) == data.size());
            return {};
        }
        const int code = errno;
        if (code == EINTR) continue;
        if (code == EPIPE || code == ECONNRESET) return fail(Error::gone("the peer has closed"));
        return fail(Error::system(code, fmt::format("sendmsg({} fds)", fds.size())));
    }
}

Result<Received> receive_with_fds(int socket, std::span<std::byte> into) {
    iovec part = {.iov_base = into.data(), .iov_len = into.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kScmFdsMax)] = {};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    ssize_t n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR) n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (n < 0) {
        const int code = errno;
        if (code == ECONNRESET) return Received{};
        return fail(Error::system(code, "recvmsg()"));
    }
    Received received;
    received.bytes = static_cast<std::size_t>(n);
    for (cmsghdr* h = CMSG_FIRSTHDR(&message); h != nullptr; h = CMSG_NXTHDR(&message, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
            received.fds.emplace_back(fd);
        }
    }
    return received;
}

Result<> setsockopt_bytes(int socket, int level, int option, std::span<const std::byte> value) {
    if (::setsockopt(socket, level, option, value.data(), static_cast<socklen_t>(value.size())) ==
        0) {
        return {};
    }
    const int code = errno;
    return fail(Error::system(code, fmt::format("setsockopt({}, {}, {})", socket, level, option)));
}

Result<std::size_t> getsockopt_bytes(int socket, int level, int option,
                                     std::span<std::byte> value) {
    auto size = static_cast<socklen_t>(value.size());
    if (::getsockopt(socket, level, option, value.data(), &size) == 0) return size;
    const int code = errno;
    return fail(Error::system(code, fmt::format("getsockopt({}, {}, {})", socket, level, option)));
}

}  // namespace ferry::os
