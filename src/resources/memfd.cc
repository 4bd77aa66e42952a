#include "resources/memfd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "os/description.h"

namespace ferry::resources {
namespace {

constexpr std::string_view kPrefix = "/memfd:";
constexpr std::string_view kDeleted = " (deleted)";

std::string own_link(int fd) {
    return fmt::format("/proc/self/fd/{}", fd);
}

std::string name_in(std::string_view target) {
    target.remove_prefix(kPrefix.size());
    if (target.ends_with(kDeleted)) target.remove_suffix(kDeleted.size());
    return std::string(target);
}

Result<model::MemoryFile> read(int fd, const std::string& name) {
    const struct stat status = TRY(os::fstat(fd));
    return model::MemoryFile{.inode = status.st_ino,
                             .name = name,
                             .bytes = static_cast<std::uint64_t>(status.st_size),
                             .mode = status.st_mode,
                             .uid = status.st_uid,
                             .gid = status.st_gid,
                             .seals = static_cast<std::uint32_t>(TRY(os::fcntl(fd, F_GET_SEALS))),
                             .position = 0,
                             .source = own_link(fd)};
}

std::unexpected<Error> as_gone(Error error, const std::string& holder) {
    if (error.code() != ENOENT && error.code() != ESRCH) return fail(std::move(error));
    return fail(Error::gone(fmt::format("{} is gone", holder)));
}

}  // namespace

bool is_memfd(std::string_view target) {
    return target.starts_with(kPrefix);
}

void MemfdTable::begin() {
    for (auto& [inode, known] : known_) known.noted = false;
}

Result<model::MemoryFile> MemfdTable::note(const std::string& link, const std::string& holder) {
    const auto status = os::fstatat(os::kCwd, link);
    if (!status) return as_gone(status.error(), holder);
    auto known = known_.find(status->st_ino);
    if (known == known_.end()) {
        const auto target = os::readlinkat(os::kCwd, link);
        if (!target) return as_gone(target.error(), holder);
        auto fd = os::open(link, O_RDONLY);
        if (!fd) return as_gone(fd.error(), holder);
        const struct stat opened = TRY(os::fstat(fd->get()));
        if (!is_memfd(*target) || opened.st_ino != status->st_ino) {
            return fail(Error::gone(fmt::format("{} is gone", holder)));
        }
        if (TRY(os::file_system_type(fd->get())) != TMPFS_MAGIC) {
            return fail(Error::unsupported(fmt::format(
                "{} is a memfd of huge pages, which is not carried: close it", holder)));
        }
        known = known_
                    .emplace(opened.st_ino,
                             Known{.fd = std::move(*fd), .name = name_in(*target), .noted = false})
                    .first;
    }
    known->second.noted = true;
    return read(known->second.fd.get(), known->second.name);
}

Result<std::vector<model::MemoryFile>> MemfdTable::all() {
    std::erase_if(known_, [](const auto& entry) { return !entry.second.noted; });
    std::vector<model::MemoryFile> files;
    for (const auto& [inode, known] : known_) {
        files.push_back(TRY(read(known.fd.get(), known.name)));
    }
    return files;
}

Result<model::MemoryFile> MemfdTable::now(std::uint64_t inode) const {
    const auto known = known_.find(inode);
    if (known == known_.end()) return fail(Error::gone(fmt::format("memfd {} is gone", inode)));
    return read(known->second.fd.get(), known->second.name);
}

Result<os::UniqueFd> open_memfd(const model::MemoryFile& file, int object, std::uint32_t flags,
                                MemfdFile which) {
    if (object < 0) {
        return fail(Error::corrupt(fmt::format("the memfd {} has no content", file.name)));
    }
    const auto how = static_cast<int>(
        flags & ~static_cast<std::uint32_t>(O_ASYNC | O_CREAT | O_TRUNC | O_EXCL | O_NOFOLLOW));
    os::UniqueFd opened =
        TRY(which == MemfdFile::Original ? os::dup(object) : os::open(own_link(object), how));
    if ((flags & O_PATH) == 0) TRY(os::lseek(opened.get(), file.position, SEEK_SET));
    return opened;
}

Result<os::UniqueFd> make_memfd(const model::MemoryFile& file) {
    return with_context(os::memfd_create(file.name, MFD_CLOEXEC | MFD_ALLOW_SEALING),
                        fmt::format("memfd {}", file.name));
}

Result<> finish_memfd(int object, const model::MemoryFile& file) {
    TRY(os::ftruncate(object, file.bytes));
    TRY(os::fchmod(object, file.mode & 07777));
    TRY(os::fchown(object, file.uid, file.gid));
    if (file.seals != 0) TRY(os::fcntl(object, F_ADD_SEALS, file.seals));
    return {};
}

}  // namespace ferry::resources
