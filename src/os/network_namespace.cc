#include "os/network_namespace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/stat.h>

#include <cerrno>

#include "os/namespace.h"

namespace ferry::os {

Result<NetworkNamespace> NetworkNamespace::own() {
    return NetworkNamespace(TRY(open("/proc/thread-self/ns/net", O_RDONLY)));
}

Result<NetworkNamespace> NetworkNamespace::make() {
    const NetworkNamespace before = TRY(own());
    const NetworkScope back = TRY(before.enter());
    TRY(unshare(CLONE_NEWNET));
    return own();
}

Result<NetworkNamespace> NetworkNamespace::of(Pid pid) {
    auto fd = open(fmt::format("/proc/{}/ns/net", pid), O_RDONLY);
    if (!fd && fd.error().code() == ENOENT) {
        return fail(Error::gone(fmt::format("process {} has no network namespace", pid)));
    }
    return NetworkNamespace(TRY(std::move(fd)));
}

Result<NetworkNamespace> NetworkNamespace::at(const std::string& path) {
    return NetworkNamespace(TRY(open(path, O_RDONLY)));
}

Result<bool> NetworkNamespace::is(const NetworkNamespace& other) const {
    const struct stat mine = TRY(fstat(fd_.get()));
    const struct stat theirs = TRY(fstat(other.fd_.get()));
    return mine.st_dev == theirs.st_dev && mine.st_ino == theirs.st_ino;
}

}  // namespace ferry::os
