#include "os/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "base/check.h"

namespace ferry::os {
namespace {

// Repeats an interrupted call. Not for close(2), which must never be repeated.
template <class Call>
auto retry_eintr(Call call) {
    auto result = call();
    while (result == -1 && errno == EINTR) result = call();
    return result;
}

}  // namespace

UniqueFd::~UniqueFd() {
    if (fd_ < 0) return;
    const int result = ::close(fd_);
    CHECK(result == 0 || errno != EBADF);
}

Result<> UniqueFd::close() && {
    const int fd = release();
    if (::close(fd) == 0) return {};
    const int code = errno;
    if (code == EINTR) return {};
    return fail(Error::system(code, fmt::format("close({})", fd)));
}

Result<UniqueFd> openat(int directory, const std::string& path, int flags, mode_t mode) {
    const int fd =
        retry_eintr([&] { return ::openat(directory, path.c_str(), flags | O_CLOEXEC, mode); });
    if (fd < 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("open({})", path)));
    }
    return UniqueFd(fd);
}

Result<UniqueFd> open(const std::string& path, int flags, mode_t mode) {
    return openat(kCwd, path, flags, mode);
}

Result<UniqueFd> dup(int fd) {
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("dup({})", fd)));
    }
    return UniqueFd(copy);
}

Result<std::pair<UniqueFd, UniqueFd>> pipe2(int flags) {
    int fds[2];
    if (::pipe2(fds, flags | O_CLOEXEC) != 0) {
        const int code = errno;
        return fail(Error::system(code, "pipe2()"));
    }
    return std::pair(UniqueFd(fds[0]), UniqueFd(fds[1]));
}

Result<UniqueFd> memfd_create(const std::string& name, unsigned flags) {
    const int fd = ::memfd_create(name.c_str(), flags | MFD_CLOEXEC);
    if (fd < 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("memfd_create({})", name)));
    }
    return UniqueFd(fd);
}

Result<> ftruncate(int fd, std::uint64_t size) {
    if (retry_eintr([&] { return ::ftruncate(fd, static_cast<off_t>(size)); }) != 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("ftruncate({}, {})", fd, size)));
    }
    return {};
}

Result<> fchmod(int fd, mode_t mode) {
    if (::fchmod(fd, mode) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("fchmod({}, {:o})", fd, mode)));
}

Result<> fchown(int fd, uid_t user, gid_t group) {
    if (::fchown(fd, user, group) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("fchown({}, {}, {})", fd, user, group)));
}

Result<std::uint64_t> file_system_type(int fd) {
    struct statfs status = {};
    if (retry_eintr([&] { return ::fstatfs(fd, &status); }) != 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("fstatfs({})", fd)));
    }
    return static_cast<std::uint64_t>(status.f_type);
}

Result<> punch_hole(int fd, std::uint64_t offset, std::uint64_t size) {
    constexpr int kMode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    if (retry_eintr([&] {
            return ::fallocate(fd, kMode, static_cast<off_t>(offset), static_cast<off_t>(size));
        }) != 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("fallocate({}, hole, {})", fd, offset)));
    }
    return {};
}

Result<> futimens(int fd, const timespec& access, const timespec& modify) {
    const timespec times[2] = {access, modify};
    if (::futimens(fd, times) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("futimens({})", fd)));
}

Result<std::size_t> read(int fd, std::span<std::byte> into) {
    const ssize_t n = retry_eintr([&] { return ::read(fd, into.data(), into.size()); });
    if (n < 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("read({}, {} bytes)", fd, into.size())));
    }
    return static_cast<std::size_t>(n);
}

Result<std::size_t> pread(int fd, std::span<std::byte> into, std::uint64_t offset) {
    const ssize_t n = retry_eintr(
        [&] { return ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset)); });
    if (n < 0) {
        const int code = errno;
        return fail(
            Error::system(code, fmt::format("pread({}, {} bytes at {})", fd, into.size(), offset)));
    }
    return static_cast<std::size_t>(n);
}

Result<std::size_t> write(int fd, std::span<const std::byte> from) {
    const ssize_t n = retry_eintr([&] { return ::write(fd, from.data(), from.size()); });
    if (n < 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("write({}, {} bytes)", fd, from.size())));
    }
    return static_cast<std::size_t>(n);
}

Result<> read_all(int fd, std::span<std::byte> into) {
    while (!into.empty()) {
        const std::size_t n = TRY(read(fd, into));
        if (n == 0) return fail(Error::corrupt(fmt::format("read({}): premature end", fd)));
        into = into.subspan(n);
    }
    return {};
}

Result<> pread_all(int fd, std::span<std::byte> into, std::uint64_t offset) {
    while (!into.empty()) {
        const std::size_t n = TRY(pread(fd, into, offset));
        if (n == 0) {
            return fail(Error::corrupt(fmt::format("pread({}) at {}: premature end", fd, offset)));
        }
        into = into.subspan(n);
        offset += n;
    }
    return {};
}

Result<> write_all(int fd, std::span<const std::byte> from) {
    while (!from.empty()) from = from.subspan(TRY(write(fd, from)));
    return {};
}

Result<> pwrite_all(int fd, std::span<const std::byte> from, std::uint64_t offset) {
    while (!from.empty()) {
        const ssize_t n = retry_eintr(
            [&] { return ::pwrite(fd, from.data(), from.size(), static_cast<off_t>(offset)); });
        if (n < 0) {
            const int code = errno;
            return fail(Error::system(
                code, fmt::format("pwrite({}, {} bytes at {})", fd, from.size(), offset)));
        }
        from = from.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
    }
    return {};
}

Result<std::string> read_file(int directory, const std::string& path) {
    const UniqueFd file = TRY(openat(directory, path, O_RDONLY));
    std::string content;
    std::size_t used = 0;
    for (;;) {
        content.resize(used + std::max<std::size_t>(4096, used));
        const std::size_t n = TRY(
            read(file.get(),
                 std::as_writable_bytes(std::span(content.data() + used, content.size() - used))));
        used += n;
        if (n == 0) break;
    }
    content.resize(used);
    return content;
}

Result<std::string> read_file(const std::string& path) {
    return read_file(kCwd, path);
}

Result<> write_file(int directory, const std::string& path, std::string_view content) {
    UniqueFd file = TRY(openat(directory, path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    TRY(with_context(write_all(file.get(), as_bytes(content)), path));
    return std::move(file).close();
}

Result<std::string> readlinkat(int directory, const std::string& path) {
    std::string target(4096, '\0');
    const ssize_t n = ::readlinkat(directory, path.c_str(), target.data(), target.size());
    if (n < 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("readlink({})", path)));
    }
    target.resize(static_cast<std::size_t>(n));
    return target;
}

Result<struct stat> fstat(int fd) {
    struct stat status = {};
    if (::fstat(fd, &status) != 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("fstat({})", fd)));
    }
    return status;
}

Result<struct stat> fstatat(int directory, const std::string& path, int flags) {
    struct stat status = {};
    if (::fstatat(directory, path.c_str(), &status, flags) != 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("stat({})", path)));
    }
    return status;
}

Result<> mkdirat(int directory, const std::string& path, mode_t mode) {
    if (::mkdirat(directory, path.c_str(), mode) != 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("mkdir({})", path)));
    }
    return {};
}

Result<> unlinkat(int directory, const std::string& path, int flags) {
    if (::unlinkat(directory, path.c_str(), flags) != 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("unlink({})", path)));
    }
    return {};
}

Result<std::vector<DirectoryEntry>> directory_entries(int directory, const std::string& path) {
    UniqueFd opened = TRY(openat(directory, path, O_RDONLY | O_DIRECTORY));
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(opened.get()), ::closedir);
    if (stream == nullptr) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("opendir({})", path)));
    }
    std::ignore = opened.release();  // closedir() owns it now
    std::vector<DirectoryEntry> entries;
    for (;;) {
        errno = 0;
        const dirent* entry = ::readdir(stream.get());
        if (entry == nullptr) break;
        const std::string_view name = entry->d_name;
        if (name == "." || name == "..") continue;
        entries.push_back({.name = std::string(name), .inode = entry->d_ino});
    }
    if (const int code = errno; code != 0) {
        return fail(Error::system(code, fmt::format("readdir({})", path)));
    }
    return entries;
}

Result<std::vector<std::string>> list_directory(int directory, const std::string& path) {
    std::vector<std::string> names;
    for (DirectoryEntry& entry : TRY(directory_entries(directory, path))) {
        names.push_back(std::move(entry.name));
    }
    return names;
}

Result<int> fcntl(int fd, int command, std::uint64_t argument) {
    const int result = ::fcntl(fd, command, argument);
    if (result < 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("fcntl({}, {})", fd, command)));
    }
    return result;
}

Result<int> ioctl(int fd, unsigned long request, void* argument) {
    const int result = retry_eintr([&] { return ::ioctl(fd, request, argument); });
    if (result < 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("ioctl({}, {:#x})", fd, request)));
    }
    return result;
}

}  // namespace ferry::os
