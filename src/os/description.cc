#include "os/description.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/kcmp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>

namespace ferry::os {
namespace {

Result<std::strong_ordering> compare(Pid a, Pid b, int type, int fd_a, int fd_b) {
    switch (::syscall(SYS_kcmp, a.value, b.value, type, fd_a, fd_b)) {
        case 0:
            return std::strong_ordering::equal;
        case 1:
            return std::strong_ordering::less;
        case 2:
            return std::strong_ordering::greater;
        default:
            break;
    }
    const int code = errno;
    if (code == ESRCH) return fail(Error::gone(fmt::format("process {} or {} has ended", a, b)));
    return fail(
        Error::system(code, fmt::format("kcmp({}, {}, {}, {}, {})", a, b, type, fd_a, fd_b)));
}

}  // namespace

Result<std::strong_ordering> compare_descriptions(Pid pid_a, int fd_a, Pid pid_b, int fd_b) {
    return compare(pid_a, pid_b, KCMP_FILE, fd_a, fd_b);
}

Result<std::strong_ordering> compare_tables(Pid pid_a, Pid pid_b) {
    return compare(pid_a, pid_b, KCMP_FILES, 0, 0);
}

Result<std::strong_ordering> compare_memory(Pid pid_a, Pid pid_b) {
    return compare(pid_a, pid_b, KCMP_VM, 0, 0);
}

Result<std::strong_ordering> compare_semaphore_undo(Tid tid_a, Tid tid_b) {
    return compare(Pid{tid_a.value}, Pid{tid_b.value}, KCMP_SYSVSEM, 0, 0);
}

Result<std::int64_t> lseek(int fd, std::int64_t offset, int whence) {
    const off_t result = ::lseek(fd, offset, whence);
    if (result >= 0) return result;
    const int code = errno;
    return fail(Error::system(code, fmt::format("lseek({}, {})", fd, offset)));
}

Result<std::size_t> tee(int from, int into, std::size_t length) {
    const ssize_t n = ::tee(from, into, length, SPLICE_F_NONBLOCK);
    if (n >= 0) return static_cast<std::size_t>(n);
    const int code = errno;
    return fail(Error::system(code, fmt::format("tee({}, {}, {})", from, into, length)));
}

Result<UniqueFd> eventfd(unsigned initial, int flags) {
    const int fd = ::eventfd(initial, flags | EFD_CLOEXEC);
    if (fd >= 0) return UniqueFd(fd);
    const int code = errno;
    return fail(Error::system(code, fmt::format("eventfd({}, {:#x})", initial, flags)));
}

Result<UniqueFd> epoll_create() {
    const int fd = ::epoll_create1(EPOLL_CLOEXEC);
    if (fd >= 0) return UniqueFd(fd);
    const int code = errno;
    return fail(Error::system(code, "epoll_create1()"));
}

Result<UniqueFd> signalfd(std::uint64_t mask) {
    // The kernel's signal set has 64 bits; glibc's sigset_t is larger.
    const long fd = ::syscall(SYS_signalfd4, -1, &mask, sizeof(mask), SFD_CLOEXEC);
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    const int code = errno;
    return fail(Error::system(code, fmt::format("signalfd({:#x})", mask)));
}

Result<UniqueFd> timerfd_create(int clock) {
    const int fd = ::timerfd_create(clock, TFD_CLOEXEC);
    if (fd >= 0) return UniqueFd(fd);
    const int code = errno;
    return fail(Error::system(code, fmt::format("timerfd_create({})", clock)));
}

Result<itimerspec> timerfd_gettime(int fd) {
    itimerspec setting = {};
    if (::timerfd_gettime(fd, &setting) == 0) return setting;
    const int code = errno;
    return fail(Error::system(code, fmt::format("timerfd_gettime({})", fd)));
}

Result<> timerfd_settime(int fd, int flags, const itimerspec& setting) {
    if (::timerfd_settime(fd, flags, &setting, nullptr) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("timerfd_settime({}, {})", fd, flags)));
}

Result<> timerfd_set_ticks(int fd, std::uint64_t ticks) {
    constexpr unsigned long kSetTicks = _IOW('T', 0, std::uint64_t);  // linux/timerfd.h
    if (::ioctl(fd, kSetTicks, &ticks) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("ioctl({}, TFD_IOC_SET_TICKS, {})", fd, ticks)));
}

Result<FileOwnerState> owner_of(int fd) {
    f_owner_ex owner = {};
    if (::fcntl(fd, F_GETOWN_EX, &owner) == 0) {
        return FileOwnerState{.type = static_cast<int>(owner.type), .pid = owner.pid};
    }
    const int code = errno;
    return fail(Error::system(code, fmt::format("fcntl({}, F_GETOWN_EX)", fd)));
}

Result<> set_owner(int fd, const FileOwnerState& owner) {
    const f_owner_ex value = {.type = static_cast<__pid_type>(owner.type), .pid = owner.pid};
    if (::fcntl(fd, F_SETOWN_EX, &value) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("fcntl({}, F_SETOWN_EX, {})", fd, owner.pid)));
}

Result<std::pair<std::uint32_t, std::uint32_t>> owner_users(int fd) {
    constexpr int kGetOwnerUids =
        17;  // F_GETOWNER_UIDS, asm-generic/fcntl.h; glibc does not name it
    uid_t users[2] = {};
    if (::fcntl(fd, kGetOwnerUids, users) == 0) return std::pair(users[0], users[1]);
    const int code = errno;
    return fail(Error::system(code, fmt::format("fcntl({}, F_GETOWNER_UIDS)", fd)));
}

}  // namespace ferry::os
