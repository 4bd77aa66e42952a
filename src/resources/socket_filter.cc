#include "resources/socket_filter.h"

#include <linux/filter.h>
#include <sys/socket.h>

#include <cerrno>

#include "os/socket.h"

namespace ferry::resources {

static_assert(sizeof(sock_filter) == sizeof(std::uint64_t));

Result<std::vector<std::uint64_t>> read_socket_filter(int fd, const Holder& holder) {
    // With no room it answers with the number of instructions (net/core/filter.c, sk_get_filter).
    const auto length = os::getsockopt_bytes(fd, SOL_SOCKET, SO_GET_FILTER, {});
    if (!length && length.error().code() == EACCES) {
        return refuse(holder, "a socket with an eBPF filter (SO_ATTACH_BPF): detach it");
    }
    if (!length) return fail(length.error());
    std::vector<std::uint64_t> filter(*length);
    if (filter.empty()) return filter;
    TRY(os::getsockopt_bytes(fd, SOL_SOCKET, SO_GET_FILTER,
                             std::as_writable_bytes(std::span(filter))));
    return filter;
}

Result<> attach_socket_filter(int fd, std::span<const std::uint64_t> filter) {
    if (filter.empty()) return {};
    if (filter.size() > BPF_MAXINSNS) return fail(Error::corrupt("a socket's filter"));
    // The kernel only reads it.
    auto* program = reinterpret_cast<sock_filter*>(const_cast<std::uint64_t*>(filter.data()));
    const sock_fprog value = {.len = static_cast<unsigned short>(filter.size()), .filter = program};
    return os::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, value);
}

}  // namespace ferry::resources
