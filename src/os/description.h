// Open file descriptions: telling them apart, and the calls that make or look at kinds that are not
// plain files.
#pragma once

#include <time.h>

#include <compare>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"

namespace ferry::os {

// kcmp(2), KCMP_FILE: the order of two open file descriptions; equal: they are the same one. ESRCH
// is Gone, EBADF (not open) is a System error.
Result<std::strong_ordering> compare_descriptions(Pid pid_a, int fd_a, Pid pid_b, int fd_b);
// KCMP_FILES: the order of two descriptor tables.
Result<std::strong_ordering> compare_tables(Pid pid_a, Pid pid_b);
// KCMP_VM: that of two address spaces.
Result<std::strong_ordering> compare_memory(Pid pid_a, Pid pid_b);
// KCMP_SYSVSEM: that of what two threads have to undo (CLONE_SYSVSEM).
Result<std::strong_ordering> compare_semaphore_undo(Tid tid_a, Tid tid_b);

// whence: SEEK_SET, SEEK_CUR, SEEK_END.
Result<std::int64_t> lseek(int fd, std::int64_t offset, int whence);
// Pages of pipe `from` are also put into pipe `into`; nothing is consumed. Returns the bytes. Never
// blocks.
Result<std::size_t> tee(int from, int into, std::size_t length);
Result<UniqueFd> eventfd(unsigned initial, int flags);
Result<UniqueFd> epoll_create();
Result<UniqueFd> signalfd(std::uint64_t mask);
Result<UniqueFd> timerfd_create(int clock);
Result<itimerspec> timerfd_gettime(int fd);
Result<> timerfd_settime(int fd, int flags, const itimerspec& setting);
// ioctl(TFD_IOC_SET_TICKS): the expirations that the next read(2) returns.
Result<> timerfd_set_ticks(int fd, std::uint64_t ticks);

struct FileOwnerState {
    int type = 0;  // F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP
    pid_t pid = 0;
};
// fcntl(F_GETOWN_EX), fcntl(F_SETOWN_EX).
Result<FileOwnerState> owner_of(int fd);
Result<> set_owner(int fd, const FileOwnerState& owner);
// fcntl(F_GETOWNER_UIDS): real and effective user of who set the owner.
Result<std::pair<std::uint32_t, std::uint32_t>> owner_users(int fd);

}  // namespace ferry::os
