#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>

#include "features/probes.h"
#include "os/fd.h"
#include "os/raw_syscall.h"
#include "os/socket.h"

namespace ferry::features {
namespace {

constexpr unsigned kMoveMountSetGroup = 0x100;                 // Linux 5.15
constexpr unsigned long kTimerSetTicks = _IOW('T', 0, __u64);  // TFD_IOC_SET_TICKS
constexpr unsigned long kUnixFile = 0x89E0;                    // SIOCUNIXFILE
constexpr unsigned long kTunDeviceNamespace = _IO('T', 227);   // TUNGETDEVNETNS, Linux 5.3

Result<std::string> fdinfo_of(int fd) {
    return os::read_file(fmt::format("/proc/self/fdinfo/{}", fd));
}

Result<> fdinfo_shows(int fd, const char* field) {
    if (TRY(fdinfo_of(fd)).find(field) != std::string::npos) return {};
    return missing(fmt::format("/proc/PID/fdinfo has no '{}'", field));
}

Result<> mount_ids() {
    const auto fd = TRY(os::memfd_create("ferry-probe", 0));
    return fdinfo_shows(fd.get(), "mnt_id:");
}

Result<> file_locks() {
    const auto fd = TRY(os::memfd_create("ferry-probe", 0));
    TRY(os::raw_syscall("flock()", SYS_flock, fd.get(), LOCK_EX));
    return fdinfo_shows(fd.get(), "lock:");
}

Result<> timers() {
    const os::UniqueFd fd(static_cast<int>(TRY(os::raw_syscall(
        "timerfd_create()", SYS_timerfd_create, CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK))));
    const itimerspec far = {.it_interval = {}, .it_value = {.tv_sec = 1'000'000, .tv_nsec = 0}};
    TRY(os::raw_syscall("timerfd_settime()", SYS_timerfd_settime, fd.get(), 0, &far, nullptr));
    std::uint64_t ticks = 1;
    TRY(os::ioctl(fd.get(), kTimerSetTicks, &ticks));
    return {};
}

Result<> open_beneath() {
    open_how how = {};
    how.flags = O_RDONLY | O_CLOEXEC;
    const auto fd =
        TRY(os::raw_syscall("openat2()", SYS_openat2, AT_FDCWD, "/", &how, sizeof(how)));
    const os::UniqueFd closed(static_cast<int>(fd));
    return {};
}

Result<> mount_groups() {
    // Unknown flags are refused before the descriptors are looked at.
    return fails_with(
        os::raw_syscall("move_mount(MOVE_MOUNT_SET_GROUP)", SYS_move_mount, -1, "", -1, "",
                        kMoveMountSetGroup | MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
        EBADF);
}

Result<> autofs() {
    if (TRY(os::read_file("/proc/filesystems")).find("\tautofs\n") != std::string::npos) return {};
    return missing("the kernel has no autofs");
}

Result<> unix_socket_file() {
    // A socket without a path has no file.
    const auto socket = TRY(os::socket(AF_UNIX, SOCK_STREAM, 0));
    return fails_with(os::ioctl(socket.get(), kUnixFile, nullptr), ENOENT);
}

Result<> tun() {
    const auto fd = TRY(os::open("/dev/net/tun", O_RDWR));
    unsigned features = 0;
    TRY(os::ioctl(fd.get(), TUNGETFEATURES, &features));
    return {};
}

Result<> tun_namespace() {
    const auto fd = TRY(os::open("/dev/net/tun", O_RDWR));
    // Not attached to a device yet.
    return fails_with(os::ioctl(fd.get(), kTunDeviceNamespace, nullptr), EBADFD);
}

constexpr Probe kProbes[] = {
    {"mnt_id", "which mount a file was opened on", Need::Always, mount_ids},
    {"fdinfo_lock", "file locks and leases", Need::Some, file_locks},
    {"timerfd", "timers as files, with their ticks", Need::Some, timers},
    {"openat2", "open paths of images without following links out", Need::Some, open_beneath},
    {"move_mount_set_group", "propagation of mounts (Linux 5.15)", Need::Some, mount_groups},
    {"autofs", "automounts", Need::Some, autofs},
    {"sk_unix_file", "the path of a bound unix socket", Need::Some, unix_socket_file},
    {"tun", "tun devices", Need::Some, tun},
    {"tun_ns", "tun devices of other network namespaces", Need::Some, tun_namespace},
};

}  // namespace

std::span<const Probe> file_probes() {
    return kProbes;
}

}  // namespace ferry::features
