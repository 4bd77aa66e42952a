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

Result<std::vector<QueuedMessage>> peek_all(int fd, int type, const Holder& holder,
                                            const char* what) {
    std::vector<QueuedMessage> queue;
    model::Bytes buffer(kMessageMax);
    std::size_t total = 0;
    for (;;) {
        const auto peeked = os::peek_message(fd, buffer);
        if (!peeked && peeked.error().code() == EAGAIN) return queue;
        if (!peeked) return fail(peeked.error());
        if (peeked->carries_rights) {
            return refuse(holder, fmt::format("{} with descriptors in flight (SCM_RIGHTS)", what));
        }
        // End of file; an empty datagram is a message.
        if (peeked->bytes == 0 && type != SOCK_DGRAM) return queue;
        total += peeked->bytes;
        if (peeked->bytes > buffer.size() || total > limits::kQueueBytesMax) {
            return refuse(holder, fmt::format("{} with a message of {} bytes", what, total));
        }
        const auto size = static_cast<std::ptrdiff_t>(peeked->bytes);
        queue.push_back(
            {.sender = peeked->sender, .content = {buffer.begin(), buffer.begin() + size}});
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
