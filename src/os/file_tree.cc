#include "os/file_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

namespace ferry::os {
namespace {

// Called right after the system call.
Result<> done(int result, const char* call, const std::string& name) {
    if (result == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("{}({})", call, name)));
}

// There are no calls for attributes of a name in a directory before Linux 6.13.
std::string path_of(int directory, const std::string& name) {
    return fmt::format("/proc/self/fd/{}/{}", directory, name);
}

// What a call of the kind "size of it, or into a buffer" gives. The size may grow in between.
template <class Call>
Result<std::string> sized(Call call, const char* what, const std::string& name) {
    for (;;) {
        const ssize_t size = call(nullptr, 0);
        if (size < 0) TRY(done(-1, what, name));
        std::string buffer(static_cast<std::size_t>(size), '\0');
        if (size == 0) return buffer;
        const ssize_t got = call(buffer.data(), buffer.size());
        if (got < 0 && errno == ERANGE) continue;
        if (got < 0) TRY(done(-1, what, name));
        buffer.resize(static_cast<std::size_t>(got));
        return buffer;
    }
}

}  // namespace

Result<UniqueFd> openat2(int directory, const std::string& path, int flags, std::uint64_t resolve) {
    open_how how = {};
    how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
    how.resolve = resolve;
    for (;;) {
        const long fd = ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how);
        if (fd >= 0) return UniqueFd(static_cast<int>(fd));
        const int code = errno;
        // EAGAIN: something was renamed somewhere meanwhile, see the man page.
        if (code == EINTR || code == EAGAIN) continue;
        return fail(Error::system(code, fmt::format("openat2({})", path)));
    }
}

Result<> mknodat(int directory, const std::string& name, mode_t mode, dev_t device) {
    return done(::mknodat(directory, name.c_str(), mode, device), "mknod", name);
}

Result<> symlinkat(const std::string& target, int directory, const std::string& name) {
    return done(::symlinkat(target.c_str(), directory, name.c_str()), "symlink", name);
}

Result<> linkat(int from_directory, const std::string& from, int directory,
                const std::string& name) {
    return done(::linkat(from_directory, from.c_str(), directory, name.c_str(), 0), "link", name);
}

Result<> fchownat(int directory, const std::string& name, uid_t user, gid_t group) {
    return done(::fchownat(directory, name.c_str(), user, group, AT_SYMLINK_NOFOLLOW), "chown",
                name);
}

Result<> fchmodat(int directory, const std::string& name, mode_t mode) {
    return done(::fchmodat(directory, name.c_str(), mode, 0), "chmod", name);
}

Result<> utimensat(int directory, const std::string& name, const timespec& accessed,
                   const timespec& modified) {
    const timespec times[] = {accessed, modified};
    return done(::utimensat(directory, name.c_str(), times, AT_SYMLINK_NOFOLLOW), "utimensat",
                name);
}

Result<ExtendedAttributes> extended_attributes(int directory, const std::string& name) {
    const std::string path = path_of(directory, name);
    const std::string names = TRY(
        sized([&](char* into, std::size_t size) { return ::llistxattr(path.c_str(), into, size); },
              "llistxattr", name));
    ExtendedAttributes attributes;
    for (std::string_view rest = names; !rest.empty();) {
        const std::string attribute(rest.substr(0, rest.find('\0')));
        rest.remove_prefix(std::min(rest.size(), attribute.size() + 1));
        attributes.emplace_back(attribute, TRY(sized(
                                               [&](char* into, std::size_t size) {
                                                   return ::lgetxattr(
                                                       path.c_str(), attribute.c_str(), into, size);
                                               },
                                               "lgetxattr", name)));
    }
    std::ranges::sort(attributes);
    return attributes;
}

Result<> set_extended_attribute(int directory, const std::string& name,
                                const std::pair<std::string, std::string>& attribute) {
    return done(::lsetxattr(path_of(directory, name).c_str(), attribute.first.c_str(),
                            attribute.second.data(), attribute.second.size(), 0),
                "lsetxattr", name);
}

Result<> remove_extended_attribute(int directory, const std::string& name,
                                   const std::string& attribute) {
    return done(::lremovexattr(path_of(directory, name).c_str(), attribute.c_str()), "lremovexattr",
                name);
}

Result<std::uint64_t> available_bytes(int fd) {
    struct statvfs room = {};
    TRY(done(::fstatvfs(fd, &room), "fstatvfs", std::to_string(fd)));
    return std::uint64_t{room.f_bavail} * room.f_frsize;
}

Result<> syncfs(int fd) {
    return done(::syncfs(fd), "syncfs", std::to_string(fd));
}

Result<std::vector<std::pair<std::uint64_t, std::uint64_t>>> data_ranges(int fd,
                                                                         std::uint64_t size) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
    for (std::uint64_t at = 0; at < size;) {
        const off_t begin = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
        if (begin < 0 && errno == ENXIO) break;
        if (begin < 0) TRY(done(-1, "lseek", std::to_string(fd)));
        const off_t end = ::lseek(fd, begin, SEEK_HOLE);
        if (end < 0) TRY(done(-1, "lseek", std::to_string(fd)));
        if (static_cast<std::uint64_t>(begin) >= size) break;
        at = std::min(static_cast<std::uint64_t>(end), size);
        ranges.emplace_back(static_cast<std::uint64_t>(begin), at);
    }
    return ranges;
}

}  // namespace ferry::os
