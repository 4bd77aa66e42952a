#include "container/podman_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstring>

#include "os/endpoint.h"
#include "os/inet.h"
#include "os/socket.h"

namespace ferry::container {
namespace {

constexpr std::size_t kMessageBytesMax = 16 << 10;

Result<os::SocketAddress> address_of(const std::string& path) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return fail(Error::limit(path + " is too long"));
    std::memcpy(address.sun_path, path.data(), path.size());
    return os::make_address(address);
}

Result<os::UniqueFd> new_socket(int type = SOCK_SEQPACKET) {
    return os::socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
}

}  // namespace

Result<os::UniqueFd> listen_at(const std::string& path, int type) {
    os::UniqueFd socket = TRY(new_socket(type));
    TRY(os::bind(socket.get(), TRY(address_of(path))));
    TRY(os::listen(socket.get(), 1));
    return socket;
}

Result<os::UniqueFd> listen_for_stand_in(const std::string& path) {
    return listen_at(path, SOCK_SEQPACKET);
}

Result<os::UniqueFd> connect_stand_in(const std::string& path) {
    os::UniqueFd socket = TRY(new_socket());
    TRY(os::connect(socket.get(), TRY(address_of(path))));
    return socket;
}

Result<> send_message(int socket, const std::string& text, std::span<const int> fds) {
    return os::send_with_fds(socket, os::as_bytes(text), fds);
}

Result<SocketMessage> receive_message(int socket) {
    SocketMessage message;
    message.text.resize(kMessageBytesMax);
    os::Received received =
        TRY(os::receive_with_fds(socket, std::as_writable_bytes(std::span(message.text))));
    if (received.bytes == 0) return fail(Error::gone("the other side has closed the connection"));
    message.text.resize(received.bytes);
    message.fds = std::move(received.fds);
    return message;
}

Result<> await_readable(int socket, std::chrono::milliseconds timeout) {
    std::array polled = {pollfd{.fd = socket, .events = POLLIN, .revents = 0}};
    if (TRY(os::poll(polled, static_cast<int>(timeout.count()))) > 0) return {};
    return fail(Error::limit("no answer in time"));
}

}  // namespace ferry::container
