#include "os/pid_namespace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>

#include <cerrno>

namespace ferry::os {
namespace {

// linux/nsfs.h of Linux 6.11; Debian 12's is older. The argument is the id itself.
constexpr unsigned long kPidFromNamespace = _IOR(0xb7, 0x6, int);
constexpr unsigned long kPidInNamespace = _IOR(0xb7, 0x8, int);

}  // namespace

Result<PidNamespace> PidNamespace::of(Pid process) {
    auto opened = open(fmt::format("/proc/{}/ns/pid", process), O_RDONLY);
    if (opened) return PidNamespace(std::move(*opened));
    if (opened.error().code() != ENOENT) return fail(opened.error());
    return fail(Error::gone(fmt::format("process {} is gone", process)));
}

Result<Tid> PidNamespace::ask(unsigned long request, Tid id) const {
    if (is_ours()) return id;
    const int answer = ::ioctl(fd_.get(), request, id.value);
    const int code = errno;
    if (answer > 0) return Tid{answer};
    // 0: it lives in a namespace from which it cannot be seen.
    if (answer == 0 || code == ESRCH) {
        return fail(Error::gone(fmt::format("task {} of another pid namespace is gone", id)));
    }
    if (code == ENOTTY) {
        return fail(Error::unsupported(
            "this kernel cannot tell the ids of another pid namespace (Linux 6.11 can)"));
    }
    return fail(Error::system(code, fmt::format("ioctl(pid namespace, {})", id)));
}

Result<Pid> PidNamespace::ours(Pid theirs) const {
    return Pid{TRY(ask(kPidFromNamespace, leader_of(theirs))).value};
}

Result<Tid> PidNamespace::ours(Tid theirs) const {
    return ask(kPidFromNamespace, theirs);
}

Result<Tid> PidNamespace::theirs(Tid ours) const {
    return ask(kPidInNamespace, ours);
}

}  // namespace ferry::os
