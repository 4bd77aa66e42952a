#include "os/pidfd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/check.h"

namespace ferry::os {
namespace {

// linux/pidfd.h of Linux 6.13; Debian 12's is older.
struct PidfdInfo {
    std::uint64_t mask;
    std::uint64_t cgroup;
    std::uint32_t ids[11];
    std::int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr std::uint64_t kInfoExit = 1 << 3;
constexpr unsigned long kGetInfo = _IOWR(0xff, 11, PidfdInfo);

constexpr int kSignalBits = 0x7f;

// What the child of pidfds_of_ended() does. Our handlers are still its own.
[[noreturn]] void end_with(int status) noexcept {
    const int signal = status & kSignalBits;
    if (signal != 0) {
        ::prctl(PR_SET_DUMPABLE, 0);  // no core, whatever the signal
        ::signal(signal, SIG_DFL);
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        ::syscall(SYS_kill, ::syscall(SYS_getpid), signal);
    }
    ::_exit((status >> 8) & 0xff);
}

// Children of the calling thread are born in another pid namespace.
class BirthScope {
  public:
    static Result<BirthScope> enter(const PidNamespace& pids) {
        if (pids.is_ours()) return BirthScope(UniqueFd());
        UniqueFd back = TRY(open("/proc/thread-self/ns/pid", O_RDONLY));
        if (::setns(pids.get(), CLONE_NEWPID) != 0) {
            const int code = errno;
            return fail(Error::system(code, "setns(CLONE_NEWPID)"));
        }
        return BirthScope(std::move(back));
    }
    BirthScope(BirthScope&&) noexcept = default;
    BirthScope& operator=(BirthScope&&) = delete;
    ~BirthScope() {
        if (back_) CHECK(::setns(back_.get(), CLONE_NEWPID) == 0);
    }

  private:
    explicit BirthScope(UniqueFd back) : back_(std::move(back)) {}
    UniqueFd back_;
};

}  // namespace

Result<UniqueFd> open_pidfd(Tid task, std::uint32_t flags) {
    const long fd = ::syscall(SYS_pidfd_open, task.value, flags);
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    const int code = errno;
    if (code == ESRCH) return fail(Error::gone(fmt::format("task {} is gone", task)));
    return fail(Error::system(code, fmt::format("pidfd_open({}, {:#x})", task, flags)));
}

std::optional<int> exit_status_of(int pidfd) {
    PidfdInfo info = {};
    info.mask = kInfoExit;
    if (::ioctl(pidfd, kGetInfo, &info) != 0 || (info.mask & kInfoExit) == 0) return std::nullopt;
    return info.exit_code;
}

Result<std::vector<UniqueFd>> pidfds_of_ended(const PidNamespace& pids, int status,
                                              std::span<const std::uint32_t> flags) {
    // Its end raises no signal, and only who asks for clones (__WALL) waits for it.
    clone_args arguments = {};
    long child = 0;
    {
        const BirthScope there = TRY(BirthScope::enter(pids));
        child = ::syscall(SYS_clone3, &arguments, sizeof(arguments));
        const int code = errno;
        if (child == 0) end_with(status);
        if (child < 0) return fail(Error::system(code, "clone3()"));
    }
    // Until it is reaped its pid is its own, ended or not.
    std::vector<UniqueFd> opened;
    Result<> first;
    for (const std::uint32_t wanted : flags) {
        auto fd = open_pidfd(Tid{static_cast<pid_t>(child)}, wanted);
        if (!fd && first) first = fail(fd.error());
        if (fd) opened.push_back(std::move(*fd));
    }
    siginfo_t ended;
    while (::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | __WALL) != 0) {
        const int code = errno;
        if (code != EINTR) return fail(Error::system(code, fmt::format("waitid({})", child)));
    }
    TRY(std::move(first));
    return opened;
}

}  // namespace ferry::os
