#include "resources/regular_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <array>
#include <string_view>

#include "os/description.h"

namespace ferry::resources {
namespace {

constexpr unsigned kMemoryMajor =
    1;  // /dev/null and its kin, Documentation/admin-guide/devices.txt
constexpr std::array<unsigned, 5> kCarriedMinors = {3, 5, 7, 8,
                                                    9};  // null zero full random urandom

bool is_terminal(const struct stat& status) {
    const unsigned number = major(status.st_rdev);
    return S_ISCHR(status.st_mode) &&
           (number == 4 || number == 5 || (number >= 136 && number <= 143));
}

Result<> check_type(const PathFile& file, const std::string& name, bool shell_job) {
    const mode_t mode = file.status.st_mode;
    if (S_ISREG(mode) || S_ISDIR(mode) || S_ISFIFO(mode) || is_carried_device(file.status))
        return {};
    if (is_terminal(file.status)) {
        if (shell_job) return {};
        return fail(Error::unsupported(fmt::format(
            "{} is the terminal {}: redirect it to a file, or use --shell-job", name, file.path)));
    }
    const char* what = S_ISCHR(mode) || S_ISBLK(mode) ? "the device" : "a special file";
    return fail(Error::unsupported(
        fmt::format("{} is {} {}, which is not carried: close it", name, what, file.path)));
}

bool same_file(const struct stat& a, const struct stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// What the kernel appends to the link of an unlinked file (fs/d_path.c).
constexpr std::string_view kDeleted = " (deleted)";

// Other names may be anywhere, and a content that others see as well must not be carried away.
Result<> check_deleted(const PathFile& file, const std::string& name, const PathRules& rules) {
    if (file.status.st_nlink != 0) {
        return fail(Error::unsupported(
            fmt::format("{} is {}, which was deleted but has another name still (a hard link), "
                        "which is not carried: close or reopen it",
                        name, file.path)));
    }
    const mode_t mode = file.status.st_mode;
    if (S_ISDIR(mode) || S_ISFIFO(mode)) return {};
    if (!S_ISREG(mode)) {
        return fail(Error::unsupported(fmt::format(
            "{} is {}, a deleted file of another kind than regular ones, directories and FIFOs: "
            "close it",
            name, file.path)));
    }
    return check_ghost_size(file.status, rules.ghost_bytes_max,
                            fmt::format("{} is {}", name, file.path));
}

// They look like regular files of 80 bytes (ipc/mqueue.c, FILENT_SIZE).
Result<bool> is_message_queue(const std::string& link, const struct stat& status) {
    constexpr std::uint64_t kMagic = 0x19800202;
    constexpr off_t kBytes = 80;
    if (!S_ISREG(status.st_mode) || status.st_size != kBytes || status.st_blocks != 0) return false;
    const os::UniqueFd there = TRY(os::open(link, O_PATH));
    return TRY(os::file_system_type(there.get())) == kMagic;
}

Result<PathFile> follow(const std::string& link, const std::string& name) {
    auto target = os::readlinkat(os::kCwd, link);
    auto status = os::fstatat(os::kCwd, link);
    for (const Error* error :
         {target ? nullptr : &target.error(), status ? nullptr : &status.error()}) {
        if (error == nullptr) continue;
        if (error->code() == ENOENT || error->code() == ESRCH) {
            return fail(Error::gone(fmt::format("{} is gone", name)));
        }
        return fail(*error);
    }
    PathFile file = {.status = *status, .path = std::move(*target)};
    file.is_message_queue = TRY(is_message_queue(link, *status));
    return file;
}

Result<PathFile> inspect_queue(PathFile file, const std::string& name, const PathRules& rules) {
    if (!rules.message_queues) {
        return fail(Error::unsupported(
            fmt::format("{} is the POSIX message queue {} of the host, which is not carried: close "
                        "it",
                        name, file.path)));
    }
    if (file.path.ends_with(kDeleted)) {
        file.path.resize(file.path.size() - kDeleted.size());
        file.unlinked = true;
    }
    // "/name" if it was opened by mq_open(3), or a path of wherever their file system is mounted.
    file.path.erase(0, file.path.rfind('/'));
    return file;
}

}  // namespace

bool is_carried_device(const struct stat& status) {
    if (!S_ISCHR(status.st_mode) || major(status.st_rdev) != kMemoryMajor) return false;
    for (const unsigned number : kCarriedMinors) {
        if (minor(status.st_rdev) == number) return true;
    }
    return false;
}

Result<PathFile> inspect_path(const std::string& link, const std::string& name,
                              const PathRules& rules) {
    // PHP, for one, changes its working directory for each request: perhaps between two questions.
    constexpr int kLooks = 5;
    for (int look = 1;; ++look) {
        PathFile file = TRY(follow(link, name));
        if (file.is_message_queue) return inspect_queue(std::move(file), name, rules);
        const auto by_path = os::fstatat(os::kCwd, rules.root + file.path);
        if (by_path && same_file(*by_path, file.status)) {
            TRY(check_type(file, name, rules.shell_job));
            return file;
        }
        if (file.path.ends_with(kDeleted)) {
            file.path.resize(file.path.size() - kDeleted.size());
            TRY(check_deleted(file, name, rules));
            file.unlinked = true;
            return file;
        }
        if (look < kLooks) continue;
        return fail(Error::unsupported(
            fmt::format("{} is {}, but that path now leads to another file or nowhere: reopen it",
                        name, file.path)));
    }
}

model::RegularFile to_regular_file(const PathFile& file, std::int64_t position) {
    model::RegularFile result;
    result.path = file.path;
    result.mode = file.status.st_mode;
    if (S_ISREG(file.status.st_mode)) {
        result.size = static_cast<std::uint64_t>(file.status.st_size);
    }
    result.position = position;
    return result;
}

Result<> settle_regular_file(int fd, const model::RegularFile& file, std::uint32_t flags) {
    if (file.size) {
        const struct stat status = TRY(os::fstat(fd));
        if (static_cast<std::uint64_t>(status.st_size) != *file.size) {
            return fail(Error::invalid(fmt::format("{} has {} bytes here, but had {} at the dump",
                                                   file.path, status.st_size, *file.size)));
        }
    }
    if ((flags & O_PATH) != 0) return {};
    if (S_ISREG(file.mode) || S_ISDIR(file.mode)) {
        TRY(with_context(os::lseek(fd, file.position, SEEK_SET), file.path));
    }
    return {};
}

// F_GETFL also shows O_ASYNC, which only F_SETFL may set, and the access mode 3 of O_PATH files.
std::uint32_t opening_flags(std::uint32_t flags) {
    // It made the file; whoever opens it again must not make another one.
    if ((flags & O_TMPFILE) == O_TMPFILE) flags &= ~static_cast<std::uint32_t>(O_TMPFILE);
    return flags & ~static_cast<std::uint32_t>(O_ASYNC | O_CREAT | O_TRUNC | O_EXCL);
}

Result<os::UniqueFd> open_regular_file(const model::RegularFile& file, std::uint32_t flags,
                                       bool shell_job) {
    const int how = static_cast<int>(opening_flags(flags));
    const bool terminal =
        S_ISCHR(file.mode) && (file.path.starts_with("/dev/pts/") ||
                               file.path.starts_with("/dev/tty") || file.path == "/dev/console");
    if (terminal && !shell_job) {
        return fail(Error::invalid(
            fmt::format("{} is a terminal: restore it with --shell-job", file.path)));
    }
    const std::string path = terminal ? "/proc/self/fd/0" : file.path;
    os::UniqueFd opened = TRY(os::open(path, how | O_NOCTTY));
    const struct stat status = TRY(os::fstat(opened.get()));
    if ((status.st_mode & S_IFMT) != (file.mode & S_IFMT)) {
        return fail(Error::invalid(
            fmt::format("{} is of another type here than it was at the dump", file.path)));
    }
    return opened;
}

}  // namespace ferry::resources
