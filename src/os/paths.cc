#include "os/paths.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace ferry::os {

Result<> mkfifo(const std::string& path, mode_t mode) {
    if (::mkfifo(path.c_str(), mode) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("mkfifo({})", path)));
}

Result<> rename(const std::string& from, const std::string& to) {
    if (::rename(from.c_str(), to.c_str()) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("rename({}, {})", from, to)));
}

Result<> chmod(const std::string& path, mode_t mode) {
    if (::chmod(path.c_str(), mode) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("chmod({}, {:o})", path, mode)));
}

Result<> chown(const std::string& path, uid_t user, gid_t group) {
    if (::chown(path.c_str(), user, group) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("chown({}, {}, {})", path, user, group)));
}

Result<std::string> mkdtemp(const std::string& prefix) {
    std::string path = prefix + "XXXXXX";
    if (::mkdtemp(path.data()) != nullptr) return path;
    const int code = errno;
    return fail(Error::system(code, fmt::format("mkdtemp({})", path)));
}

Result<> link_descriptor(int fd, const std::string& path) {
    if (::linkat(fd, "", AT_FDCWD, path.c_str(), AT_EMPTY_PATH) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("linkat({}, {})", fd, path)));
}

}  // namespace ferry::os
