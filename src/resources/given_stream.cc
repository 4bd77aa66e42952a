#include "resources/given_stream.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "os/description.h"
#include "proc/mounts.h"
#include "proc/process_directory.h"
#include "resources/regular_file.h"

namespace ferry::resources {

// By the mount: the container may have a file of the same path.
Result<bool> GivenStreams::is_outside(const Slot& slot) const {
    const auto directory = TRY(proc::ProcessDirectory::open(first_));
    const auto mounts = TRY(proc::parse_mounts(TRY(directory.text("mountinfo"))));
    return std::ranges::find(mounts, slot.info.mount_id, &proc::Mount::id) == mounts.end();
}

Result<std::optional<model::GivenStream>> GivenStreams::find(const Slot& slot) const {
    const auto found = std::ranges::find(links_, slot.link);
    if (found == links_.end() || slot.link.empty()) return std::nullopt;
    model::GivenStream stream = {.number = static_cast<int>(found - links_.begin()),
                                 .position = {}};
    if (slot.kind == FileKind::Pipe) {
        const bool reads = (slot.info.flags & O_ACCMODE) == O_RDONLY;
        return reads ? std::nullopt : std::optional(stream);
    }
    if (slot.kind != FileKind::Path) return std::nullopt;
    const struct stat status =
        TRY(os::fstatat(os::kCwd, fmt::format("/proc/{}/fd/{}", slot.holder.pid, slot.holder.fd)));
    const bool is_named_file = S_ISREG(status.st_mode) && status.st_nlink != 0;
    if (!is_named_file && !is_carried_device(status)) return std::nullopt;
    if (!TRY(is_outside(slot))) return std::nullopt;
    if (S_ISREG(status.st_mode)) {
        stream.position = slot.info.position;
        stream.size = static_cast<std::uint64_t>(status.st_size);
    }
    return stream;
}

Result<os::UniqueFd> open_given_stream(int fd, std::uint32_t flags) {
    if (fd < 0) return fail(Error::corrupt("a standard stream that nobody has given here"));
    const auto given = static_cast<std::uint32_t>(TRY(os::fcntl(fd, F_GETFL)));
    // Without O_NONBLOCK the end of a pipe that nobody reads would wait for ever (fifo(7)).
    const std::uint32_t how = (opening_flags(flags) | (given & O_APPEND) | O_NONBLOCK | O_NOCTTY);
    return os::open(fmt::format("/proc/self/fd/{}", fd), static_cast<int>(how));
}

Result<> settle_given_stream(int fd, const model::GivenStream& stream) {
    const struct stat status = TRY(os::fstat(fd));
    if (!S_ISREG(status.st_mode)) return {};
    const auto size = static_cast<std::uint64_t>(status.st_size);
    const bool is_same = stream.position && size == stream.size;
    const auto end = static_cast<std::int64_t>(size);
    TRY(os::lseek(fd, is_same ? *stream.position : end, SEEK_SET));
    return {};
}

}  // namespace ferry::resources
