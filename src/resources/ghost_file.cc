#include "resources/ghost_file.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <variant>

#include "os/description.h"
#include "os/paths.h"
#include "os/scope.h"

namespace ferry::resources {
namespace {

constexpr std::uint64_t kStatBlockBytes = 512;  // the unit of st_blocks (stat(2))
constexpr std::uint64_t kMicrosPerSecond = 1'000'000;
constexpr mode_t kPermissions = 07777;

std::uint64_t to_micros(const timespec& time) {
    return static_cast<std::uint64_t>(time.tv_sec) * kMicrosPerSecond +
           static_cast<std::uint64_t>(time.tv_nsec) / 1000;
}

timespec to_time(std::uint64_t micros) {
    return {.tv_sec = static_cast<time_t>(micros / kMicrosPerSecond),
            .tv_nsec = static_cast<long>(micros % kMicrosPerSecond) * 1000};
}

// lseek(SEEK_DATA), lseek(SEEK_HOLE); the end of the file where nothing follows.
Result<std::uint64_t> seek(int fd, std::uint64_t from, int whence, std::uint64_t end) {
    const auto found = os::lseek(fd, static_cast<std::int64_t>(from), whence);
    if (found) return static_cast<std::uint64_t>(*found);
    if (found.error().code() == ENXIO) return end;
    return fail(found.error());
}

Result<> read_extents(int fd, model::GhostFile& into) {
    for (std::uint64_t at = 0; at < into.size;) {
        const std::uint64_t begin = TRY(seek(fd, at, SEEK_DATA, into.size));
        if (begin >= into.size) return {};
        const std::uint64_t end = std::min(into.size, TRY(seek(fd, begin, SEEK_HOLE, into.size)));
        model::GhostFile::Extent& extent = into.extents.emplace_back();
        extent.offset = begin;
        extent.content.resize(end - begin);
        TRY(os::pread_all(fd, extent.content, begin));
        at = end;
    }
    return {};
}

// What the unlinked file was called by the first that refers to it.
Result<std::string> path_of(const model::Checkpoint& checkpoint, std::uint32_t ghost) {
    for (const model::OpenFile& file : checkpoint.files) {
        const auto* regular = std::get_if<model::RegularFile>(&file.body);
        if (regular != nullptr && regular->ghost == ghost) return regular->path;
        const auto* end = std::get_if<model::PipeEnd>(&file.body);
        if (end != nullptr && end->ghost == ghost) return end->path;
    }
    return fail(Error::corrupt(fmt::format("nobody has the unlinked file {} open", ghost)));
}

std::string open_link(int fd) {
    return fmt::format("/proc/self/fd/{}", fd);
}

// The same file, opened by its old name, which it has only meanwhile; nothing where the name is
// taken.
Result<os::UniqueFd> open_by_name(int nameless, const std::string& path) {
    const auto linked = os::link_descriptor(nameless, path);
    if (!linked && linked.error().code() == EEXIST) return os::UniqueFd();
    if (!linked) return fail(linked.error());
    auto opened = os::open(path, O_RDONLY | O_NOFOLLOW);
    TRY(os::unlinkat(os::kCwd, path));
    return opened;
}

// By its old name, or beside it where that is taken. It is empty: whoever finds it meanwhile finds
// nothing.
Result<os::UniqueFd> make_named(const model::GhostFile& ghost, std::string path, int root) {
    const os::RootScope there = TRY(os::RootScope::enter(root));
    const bool is_directory = S_ISDIR(ghost.mode);
    if (os::fstatat(os::kCwd, path, AT_SYMLINK_NOFOLLOW)) {
        path += fmt::format(".ferry-ghost-{}", ghost.id);
    }
    TRY(is_directory ? os::mkdirat(os::kCwd, path, S_IRWXU) : os::mkfifo(path, S_IRUSR | S_IWUSR));
    // Both ways, so that no open waits for the other end.
    auto opened =
        os::open(path, (is_directory ? O_RDONLY | O_DIRECTORY : O_RDWR | O_NONBLOCK) | O_NOFOLLOW);
    TRY(os::unlinkat(os::kCwd, path, is_directory ? AT_REMOVEDIR : 0));
    return opened;
}

Result<os::UniqueFd> make(const model::GhostFile& ghost, const std::string& path, int root) {
    if (!S_ISREG(ghost.mode)) return make_named(ghost, path, root);
    const std::string directory = path.substr(0, std::max<std::size_t>(path.rfind('/'), 1));
    os::UniqueFd nameless;
    {
        const os::RootScope there = TRY(os::RootScope::enter(root));
        nameless = TRY(os::open(directory, O_TMPFILE | O_RDWR, S_IRUSR | S_IWUSR));
        TRY(os::ftruncate(nameless.get(), ghost.size));
        os::UniqueFd named = TRY(open_by_name(nameless.get(), path));
        if (named) return named;
    }
    return os::open(open_link(nameless.get()), O_RDONLY);
}

Result<> fill(int file, const model::GhostFile& ghost) {
    if (S_ISREG(ghost.mode)) {
        const os::UniqueFd writer = TRY(os::open(open_link(file), O_WRONLY));
        TRY(os::ftruncate(writer.get(), ghost.size));
        for (const model::GhostFile::Extent& extent : ghost.extents) {
            TRY(os::pwrite_all(writer.get(), extent.content, extent.offset));
        }
    }
    TRY(os::fchown(file, ghost.uid, ghost.gid));
    // After a change of owner, which takes away set-user-id.
    TRY(os::fchmod(file, ghost.mode & kPermissions));
    return os::futimens(file, to_time(ghost.access_us), to_time(ghost.modify_us));
}

std::string describe(const std::string& path) {
    return fmt::format("unlinked file {}", path);
}

}  // namespace

Result<> check_ghost_size(const struct stat& status, std::uint64_t bytes_max,
                          const std::string& what) {
    const std::uint64_t bytes = static_cast<std::uint64_t>(status.st_blocks) * kStatBlockBytes;
    if (bytes <= bytes_max) return {};
    return fail(Error::unsupported(
        fmt::format("{}, a deleted file of {} bytes, more than --ghost-limit {}: close it, or "
                    "raise the limit",
                    what, bytes, bytes_max)));
}

model::GhostFile outline_ghost(const struct stat& status, std::uint32_t id) {
    return {.id = id,
            .mode = status.st_mode,
            .uid = status.st_uid,
            .gid = status.st_gid,
            .device = status.st_dev,
            .inode = status.st_ino,
            .access_us = to_micros(status.st_atim),
            .modify_us = to_micros(status.st_mtim),
            .size = S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) : 0,
            .extents = {}};
}

Result<model::GhostFile> read_ghost(const std::string& link, std::uint32_t id,
                                    std::uint64_t bytes_max, const std::string& what) {
    // To open a FIFO would be to be its reader.
    const auto there = os::fstatat(os::kCwd, link);
    if (there && !S_ISREG(there->st_mode)) return outline_ghost(*there, id);
    const auto opened = there ? os::open(link, O_RDONLY | O_NOATIME) : fail(there.error());
    if (!opened && (opened.error().code() == ENOENT || opened.error().code() == ESRCH)) {
        return fail(Error::gone(fmt::format("{} is gone", what)));
    }
    if (!opened) return fail(opened.error());
    const struct stat status = TRY(os::fstat(opened->get()));
    TRY(check_ghost_size(status, bytes_max, what));
    model::GhostFile ghost = outline_ghost(status, id);
    TRY(with_context(read_extents(opened->get(), ghost), what));
    return ghost;
}

Result<> GhostFiles::prepare(const model::Checkpoint& checkpoint, std::uint32_t id, int root) {
    if (files_.contains(id)) return {};
    const auto ghost = std::ranges::find(checkpoint.ghosts, id, &model::GhostFile::id);
    if (ghost == checkpoint.ghosts.end()) {
        return fail(Error::corrupt(fmt::format("there is no unlinked file {}", id)));
    }
    const std::string path = TRY(path_of(checkpoint, id));
    files_[id] = TRY(with_context(make(*ghost, path, root), describe(path)));
    return {};
}

Result<> GhostFiles::finish(const model::Checkpoint& checkpoint) {
    for (const model::GhostFile& ghost : checkpoint.ghosts) {
        TRY(with_context(fill(files_[ghost.id].get(), ghost),
                         describe(TRY(path_of(checkpoint, ghost.id)))));
    }
    return {};
}

Result<std::string> GhostFiles::path_to(std::uint32_t id) const {
    const auto file = files_.find(id);
    if (file == files_.end()) {
        return fail(Error::corrupt(fmt::format("there is no unlinked file {}", id)));
    }
    return open_link(file->second.get());
}

Result<os::UniqueFd> GhostFiles::open(std::uint32_t id, std::uint32_t flags) const {
    // Our own way to it is a link; to whoever has it open the flag means nothing any more.
    return os::open(TRY(path_to(id)), static_cast<int>(flags) & ~O_NOFOLLOW);
}

void GhostFiles::close_fifos() {
    std::erase_if(files_, [](const auto& entry) {
        const auto status = os::fstat(entry.second.get());
        return status && S_ISFIFO(status->st_mode);
    });
}

}  // namespace ferry::resources
