#include "os/flock.h"

#include <fmt/format.h>
#include <sys/file.h>

#include <cerrno>

namespace ferry::os {

Result<bool> try_flock(int fd) {
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
    const int code = errno;
    if (code == EWOULDBLOCK) return false;
    return fail(Error::system(code, fmt::format("flock({})", fd)));
}

}  // namespace ferry::os
