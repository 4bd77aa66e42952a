#include "os/scope.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/check.h"
#include "os/namespace.h"

namespace ferry::os {
namespace {

bool change_root(int root) {
    return ::fchdir(root) == 0 && ::chroot(".") == 0;
}

// Of the calling thread alone; the C library's would change all.
bool change_ids(const UserIds& ids) {
    return ::syscall(SYS_setresgid, -1, ids.group, -1) == 0 &&
           ::syscall(SYS_setresuid, -1, ids.user, -1) == 0;
}

}  // namespace

Result<NetworkScope> NetworkScope::enter(int network) {
    if (network < 0) return NetworkScope(UniqueFd());
    UniqueFd back = TRY(open("/proc/thread-self/ns/net", O_RDONLY));
    TRY(setns(network, CLONE_NEWNET));
    return NetworkScope(std::move(back));
}

NetworkScope::~NetworkScope() {
    if (back_) CHECK(::setns(back_.get(), CLONE_NEWNET) == 0);
}

Result<IpcScope> IpcScope::enter(int ipc) {
    if (ipc < 0) return IpcScope(UniqueFd());
    UniqueFd back = TRY(open("/proc/thread-self/ns/ipc", O_RDONLY));
    TRY(setns(ipc, CLONE_NEWIPC));
    return IpcScope(std::move(back));
}

IpcScope::~IpcScope() {
    if (back_) CHECK(::setns(back_.get(), CLONE_NEWIPC) == 0);
}

Result<RootScope> RootScope::enter(int root) {
    if (root < 0) return RootScope(UniqueFd(), UniqueFd());
    UniqueFd own_root = TRY(open("/", O_PATH | O_DIRECTORY));
    UniqueFd own_directory = TRY(open(".", O_PATH | O_DIRECTORY));
    RootScope scope(std::move(own_root), std::move(own_directory));
    if (change_root(root)) return scope;
    const int code = errno;
    return fail(Error::system(code, "chroot(root of the tree)"));
}

RootScope::~RootScope() {
    if (!root_) return;
    CHECK(change_root(root_.get()));
    CHECK(::fchdir(directory_.get()) == 0);
}

Result<DirectoryScope> DirectoryScope::enter(const std::string& path) {
    if (path.empty()) return DirectoryScope(UniqueFd());
    UniqueFd back = TRY(open(".", O_PATH | O_DIRECTORY));
    if (::chdir(path.c_str()) == 0) return DirectoryScope(std::move(back));
    const int code = errno;
    return fail(Error::system(code, fmt::format("chdir({})", path)));
}

DirectoryScope::~DirectoryScope() {
    if (back_) CHECK(::fchdir(back_.get()) == 0);
}

Result<UserScope> UserScope::enter(const std::optional<UserIds>& ids) {
    Own own = {.ids = {.user = ::geteuid(), .group = ::getegid()},
               .secure_bits = ::prctl(PR_GET_SECUREBITS),
               .dumpable = ::prctl(PR_GET_DUMPABLE)};
    UserScope scope;
    if (!ids || *ids == own.ids) return scope;
    ::prctl(PR_GET_PDEATHSIG, &own.death_signal);
    const bool keeps = ::prctl(PR_SET_SECUREBITS, own.secure_bits | SECBIT_NO_SETUID_FIXUP) == 0;
    if (keeps && change_ids(*ids)) {
        scope.back_ = own;
        return scope;
    }
    const int code = errno;
    restore(own);
    return fail(
        Error::system(code, fmt::format("setresuid({}), setresgid({})", ids->user, ids->group)));
}

void UserScope::restore(const Own& own) {
    CHECK(change_ids(own.ids));
    ::prctl(PR_SET_SECUREBITS, own.secure_bits);
    if (own.dumpable < 2) ::prctl(PR_SET_DUMPABLE, own.dumpable);
    ::prctl(PR_SET_PDEATHSIG, own.death_signal);
}

UserScope::~UserScope() {
    if (back_) restore(*back_);
}

}  // namespace ferry::os
