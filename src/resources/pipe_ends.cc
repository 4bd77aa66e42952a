#include "resources/pipe_ends.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>

#include <array>

#include "os/inet.h"

namespace ferry::resources {

bool is_readable(std::uint32_t flags) {
    return (flags & O_ACCMODE) != O_WRONLY;
}
bool is_writable(std::uint32_t flags) {
    return (flags & O_ACCMODE) != O_RDONLY;
}

void PipeEnds::add(const Slot& slot) {
    any = slot.holder;
    if (is_readable(slot.info.flags)) reader = slot.holder;
    if (is_writable(slot.info.flags)) writer = slot.holder;
}

Result<> check_pipe_ends(const PipeEnds& ends, int copy) {
    if (ends.reader.fd >= 0 && ends.writer.fd >= 0) return {};
    std::array<pollfd, 1> polled = {{{.fd = copy, .events = 0, .revents = 0}}};
    TRY(os::poll(polled, 0));
    const bool reader_only = ends.writer.fd < 0;
    if ((polled[0].revents & (reader_only ? POLLHUP : POLLERR)) != 0) return {};
    return refuse(ends.any, fmt::format("a pipe whose {} end is outside the tree: redirect it to a "
                                        "file or to /dev/null",
                                        reader_only ? "write" : "read"));
}

}  // namespace ferry::resources
