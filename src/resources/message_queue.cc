#include "resources/message_queue.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/limits.h"
#include "os/endpoint.h"
#include "os/socket.h"

namespace ferry::resources {
namespace {

constexpr std::size_t kMessageMax = 256 * 1024;  // beyond net.core.wmem_max's default of 208 KiB

// A peek of a stream reads on until it has met descriptors; who reads less gets them with the first
// byte that they were sent with. Of the `size` bytes at `start`: how many lie before it.
Result<std::size_t> bytes_before_rights(int fd, std::size_t start, std::size_t size,
                                        std::span<std::byte> buffer) {
    if (size == 0) return std::size_t{0};
    TRY(os::setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, static_cast<int>(start)));
    return os::peek_before_last(fd, buffer.first(size - 1));
}

Result<std::vector<QueuedMessage>> peek_all(int fd, int type, const Holder& holder,
                                            const char* what) {
    std::vector<QueuedMessage> queue;
    model::Bytes buffer(kMessageMax);
    std::size_t total = 0;
    for (;;) {
        auto peeked = os::peek_message(fd, buffer);
        if (!peeked && peeked.error().code() == EAGAIN) return queue;
        if (!peeked) return fail(peeked.error());
        // End of file; an empty datagram is a message.
        if (peeked->bytes == 0 && type != SOCK_DGRAM) return queue;
        total += peeked->bytes;
        if (peeked->bytes > buffer.size() || total > limits::kQueueBytesMax) {
            return refuse(holder, fmt::format("{} with a message of {} bytes", what, total));
        }
        const auto size = static_cast<std::ptrdiff_t>(peeked->bytes);
        queue.push_back({.sender = peeked->sender,
                         .content = {buffer.begin(), buffer.begin() + size},
                         .rights = std::move(peeked->rights)});
        if (type != SOCK_STREAM || queue.back().rights.empty()) continue;
        const std::size_t start = total - peeked->bytes;
        const std::size_t before = TRY(bytes_before_rights(fd, start, peeked->bytes, buffer));
        if (before > 0) {
            queue.back().content.resize(before);
            queue.back().rights.clear();
            total = start + before;
        }
        TRY(os::setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, static_cast<int>(total)));
    }
}

}  // namespace

// SO_PEEK_OFF moves each peek on to the next message. It is the socket's own state, so it is put
// back.
Result<std::vector<QueuedMessage>> peek_queue(int fd, int type, const Holder& holder,
                                              const char* what) {
    const int before = TRY(os::getsockopt<int>(fd, SOL_SOCKET, SO_PEEK_OFF));
    constexpr int kStart = 0;
    TRY(os::setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, kStart));
    auto peeked = peek_all(fd, type, holder, what);
    TRY(os::setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, before));
    return peeked;
}

}  // namespace ferry::resources
