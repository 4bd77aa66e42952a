#include "os/network_namespace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/check.h"
#include "os/namespace.h"

namespace ferry::os {
namespace {

constexpr const char* kOwn = "/proc/thread-self/ns/net";

}  // namespace

NetworkNamespace::Stay::~Stay() {
    if (back_) CHECK(setns(back_.get(), CLONE_NEWNET).has_value());
}

Result<NetworkNamespace> NetworkNamespace::own() {
    return NetworkNamespace(TRY(open(kOwn, O_RDONLY)));
}

Result<NetworkNamespace> NetworkNamespace::of(Pid pid) {
    auto fd = open(fmt::format("/proc/{}/ns/net", pid), O_RDONLY);
    if (!fd && fd.error().code() == ENOENT) {
        return fail(Error::gone(fmt::format("process {} has no network namespace", pid)));
    }
    return NetworkNamespace(TRY(std::move(fd)));
}

Result<NetworkNamespace::Stay> NetworkNamespace::enter() const {
    UniqueFd back = TRY(open(kOwn, O_RDONLY));
    TRY(setns(fd_.get(), CLONE_NEWNET));
    return Stay(std::move(back));
}

Result<bool> NetworkNamespace::is(const NetworkNamespace& other) const {
    const struct stat mine = TRY(fstat(fd_.get()));
    const struct stat theirs = TRY(fstat(other.fd_.get()));
    return mine.st_dev == theirs.st_dev && mine.st_ino == theirs.st_ino;
}

}  // namespace ferry::os
