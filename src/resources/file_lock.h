// Advisory locks of files: of a process and a range (fcntl(F_SETLK)), of an open file description
// (flock(2)), or of both (F_OFD_SETLK). The kernel shows each in the fdinfo of the descriptors that
// it was taken through: those of a process in that process only, the others wherever the
// description is (fs/locks.c, show_fd_locks). A task that waits for a lock asks again afterwards
// by itself, its call being restarted. Leases are refused.
#pragma once

#include <fcntl.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "model/files.h"
#include "resources/descriptions.h"
#include "trace/remote_calls.h"

namespace ferry::resources {

// Unsupported: a lease; or any lock, unless they are carried (--file-locks).
Result<> check_locks(const Slot& slot, bool carried);

// Adds the locks of one description: `slots` are all descriptors of it, by process.
void collect_locks(std::span<const Slot* const> slots, std::vector<model::FileLock>& into);

// The system call by which the process that has `lock.fd` takes the lock, without waiting: EAGAIN
// or EACCES if another holds one that excludes it.
struct LockCall {
    const char* name = "";
    long number = 0;
    std::uint64_t command = 0;          // the second argument
    std::optional<struct flock> range;  // the third is its address
};
[[nodiscard]] LockCall call_of(const model::FileLock& lock);
// The one by which it gives the lock up.
[[nodiscard]] LockCall release_call_of(const model::FileLock& lock);

// Made by the process that has `fd`, once its own code is there (trace/remote_calls.h).
Result<> make_lock_call(trace::RemoteCalls& calls, int fd, const LockCall& call);

// Someone else holds a lock that excludes this one.
[[nodiscard]] bool is_held_elsewhere(int code);

}  // namespace ferry::resources
