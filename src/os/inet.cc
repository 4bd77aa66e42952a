#include "os/inet.h"

#include <fmt/format.h>
#include <netdb.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/check.h"

namespace ferry::os {

std::uint16_t SocketAddress::port() const {
    if (family() == AF_INET) {
        return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
    }
    if (family() == AF_INET6) {
        return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
    }
    return 0;
}

Result<std::vector<SocketAddress>> resolve(const std::string& host, std::uint16_t port) {
    addrinfo hints = {};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    addrinfo* found = nullptr;
    const int result = ::getaddrinfo(host.empty() ? nullptr : host.c_str(),
                                     std::to_string(port).c_str(), &hints, &found);
    if (result != 0) {
        return fail(Error::invalid(fmt::format("{}: {}", host, ::gai_strerror(result))));
    }
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
    std::vector<SocketAddress> addresses;
    for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
        SocketAddress address;
        CHECK(entry->ai_addrlen <= sizeof(address.storage));
        std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
        address.size = entry->ai_addrlen;
        addresses.push_back(address);
    }
    return addresses;
}

Result<> connect(int socket, const SocketAddress& to) {
    if (::connect(socket, to.raw(), to.size) == 0) return {};
    const int code = errno;
    if (code == EINPROGRESS || code == EINTR) return {};
    return fail(Error::system(code, fmt::format("connect({})", socket)));
}

Result<> bind(int socket, const SocketAddress& at) {
    if (::bind(socket, at.raw(), at.size) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("bind({})", socket)));
}

Result<> listen(int socket, int backlog) {
    if (::listen(socket, backlog) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("listen({})", socket)));
}

Result<UniqueFd> accept4(int socket, int flags) {
    int fd = ::accept4(socket, nullptr, nullptr, flags | SOCK_CLOEXEC);
    while (fd < 0 && errno == EINTR) fd = ::accept4(socket, nullptr, nullptr, flags | SOCK_CLOEXEC);
    if (fd < 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("accept4({})", socket)));
    }
    return UniqueFd(fd);
}

Result<SocketAddress> getsockname(int socket) {
    SocketAddress address;
    address.size = sizeof(address.storage);
    if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address.storage), &address.size) != 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("getsockname({})", socket)));
    }
    return address;
}

Result<std::string> to_string(const SocketAddress& address) {
    char host[NI_MAXHOST] = {};
    char port[NI_MAXSERV] = {};
    const int result = ::getnameinfo(address.raw(), address.size, host, sizeof(host), port,
                                     sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
    if (result != 0) return fail(Error::invalid(::gai_strerror(result)));
    return address.family() == AF_INET6 ? fmt::format("[{}]:{}", host, port)
                                        : fmt::format("{}:{}", host, port);
}

Result<int> poll(std::span<pollfd> fds, int timeout_ms) {
    const int ready = ::poll(fds.data(), fds.size(), timeout_ms);
    if (ready >= 0) return ready;
    const int code = errno;
    if (code == EINTR) {
        for (pollfd& fd : fds) fd.revents = 0;
        return 0;
    }
    return fail(Error::system(code, fmt::format("poll({} descriptors)", fds.size())));
}

namespace {

Result<Moved> moved(ssize_t n, int code, const char* call) {
    if (n >= 0) return Moved{.bytes = static_cast<std::size_t>(n)};
    if (code == EAGAIN || code == EINTR) return Moved{.would_block = true};
    if (code == EPIPE || code == ECONNRESET)
        return fail(Error::gone("the peer closed the connection"));
    return fail(Error::system(code, call));
}

}  // namespace

Result<Moved> send_some(int socket, std::span<const std::byte> data) {
    const ssize_t n = ::send(socket, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    const int code = errno;
    return moved(n, code, "send()");
}

Result<Moved> receive_some(int socket, std::span<std::byte> into) {
    const ssize_t n = ::recv(socket, into.data(), into.size(), MSG_DONTWAIT);
    const int code = errno;
    return moved(n, code, "recv()");
}

}  // namespace ferry::os
