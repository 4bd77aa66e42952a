#include "os/network_namespace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>

namespace ferry::os {

Result<NetworkNamespace> NetworkNamespace::own() {
    return NetworkNamespace(TRY(open("/proc/thread-self/ns/net", O_RDONLY)));
}

Result<NetworkNamespace> NetworkNamespace::of(Pid pid) {
    auto fd = open(fmt::format("/proc/{}/ns/net", pid), O_RDONLY);
    if (!fd && fd.error().code() == ENOENT) {
        return fail(Error::gone(fmt::format("process {} has no network namespace", pid)));
    }
    return NetworkNamespace(TRY(std::move(fd)));
}

Result<bool> NetworkNamespace::is(const NetworkNamespace& other) const {
    const struct stat mine = TRY(fstat(fd_.get()));
    const struct stat theirs = TRY(fstat(other.fd_.get()));
    return mine.st_dev == theirs.st_dev && mine.st_ino == theirs.st_ino;
}

}  // namespace ferry::os
