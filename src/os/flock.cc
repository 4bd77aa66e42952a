#include "os/flock.h"

#include <sys/file.h>

#include <cerrno>
#include <cstdio>

#include <fmt/format.h>

namespace ferry::os {

Result<bool> try_flock(int fd) {
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
    const int code = errno;
    if (code == EWOULDBLOCK) return false;
    return fail(Error::system(code, fmt::format("flock({})", fd)));
}

Result<> rename(const std::string& from, const std::string& to) {
    if (std::rename(from.c_str(), to.c_str()) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("rename({}, {})", from, to)));
}

}  // namespace ferry::os
