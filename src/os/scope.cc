#include "os/scope.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>

#include "base/check.h"
#include "os/namespace.h"

namespace ferry::os {
namespace {

bool change_root(int root) {
    return ::fchdir(root) == 0 && ::chroot(".") == 0;
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

}  // namespace ferry::os
