// The text of /proc/PID/fdinfo/FD and of the /proc/PID/fd/FD link, parsed. Pure functions; formats
// as in proc_pid_fdinfo(5) and the kernel's fs/proc/fd.c, fs/eventfd.c, fs/eventpoll.c,
// fs/signalfd.c, fs/timerfd.c, fs/locks.c, fs/pidfs.c, fs/notify/fdinfo.c.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "model/files.h"

namespace ferry::resources {

struct FdInfo {
    std::int64_t position = 0;
    std::uint32_t flags = 0;  // F_GETFL and O_CLOEXEC
    std::int32_t mount_id = -1;
    std::uint64_t inode = 0;             // Linux 5.14
    std::vector<model::FileLock> locks;  // pid and fd are left open
    bool has_lease = false;              // F_SETLEASE
    std::optional<std::uint64_t> eventfd_count;
    bool eventfd_semaphore = false;
    std::vector<model::EpollTarget> epoll_targets;
    std::optional<std::uint64_t> signal_mask;  // signalfd
    std::optional<model::TimerFd> timer;       // timerfd
    std::vector<model::InotifyWatch> watches;  // inotify; ascending, without paths
    std::optional<pid_t> pidfd_task;           // pidfd; -1: it has ended, and was waited for
    bool operator==(const FdInfo&) const = default;
};

// Error::Kind::Corrupt on text that has no pos, flags or mnt_id line; unknown lines are skipped.
Result<FdInfo> parse_fdinfo(std::string_view text);

enum class FileKind : std::uint8_t {
    Path,  // a link that begins with '/'
    Socket,
    Pipe,  // pipe(2); a FIFO is a Path
    EventFd,
    EventPoll,
    SignalFd,
    TimerFd,
    MemFd,
    Inotify,
    PidFd,
    Other,  // what is not carried; the link says what it is
};

// kind_of_link("socket:[123]") is Socket.
[[nodiscard]] FileKind kind_of_link(std::string_view link);

}  // namespace ferry::resources
