#include "resources/file_lock.h"

#include <fmt/format.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>

namespace ferry::resources {

Result<> check_locks(const Slot& slot, bool carried) {
    if (slot.info.has_lease) {
        return refuse(slot.holder,
                      fmt::format("{} with a lease (F_SETLEASE), which is not carried", slot.link));
    }
    if (slot.info.locks.empty() || carried) return {};
    return refuse(slot.holder,
                  fmt::format("{} with a file lock: use --file-locks, or unlock it", slot.link));
}

void collect_locks(std::span<const Slot* const> slots, std::vector<model::FileLock>& into) {
    const auto begin = static_cast<std::ptrdiff_t>(into.size());
    for (const Slot* slot : slots) {
        for (model::FileLock lock : slot->info.locks) {
            // Duplicates show it again, and so do other processes if it is the description's.
            const bool of_process = lock.kind == model::LockKind::Process;
            const auto is_same = [&](const model::FileLock& known) {
                return known.kind == lock.kind && known.exclusive == lock.exclusive &&
                       known.start == lock.start && known.length == lock.length &&
                       (!of_process || known.pid == slot->holder.pid);
            };
            if (std::any_of(into.begin() + begin, into.end(), is_same)) continue;
            lock.pid = slot->holder.pid;
            lock.fd = slot->holder.fd;
            into.push_back(lock);
        }
    }
}

LockCall call_of(const model::FileLock& lock) {
    if (lock.kind == model::LockKind::Flock) {
        const int operation = (lock.exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB;
        return {.name = "flock",
                .number = SYS_flock,
                .command = static_cast<std::uint64_t>(operation),
                .range = std::nullopt};
    }
    struct flock range = {};
    range.l_type = static_cast<short>(lock.exclusive ? F_WRLCK : F_RDLCK);
    range.l_whence = SEEK_SET;
    range.l_start = static_cast<off_t>(lock.start);
    range.l_len = static_cast<off_t>(lock.length);
    const int command = lock.kind == model::LockKind::Process ? F_SETLK : F_OFD_SETLK;
    return {.name = "fcntl",
            .number = SYS_fcntl,
            .command = static_cast<std::uint64_t>(command),
            .range = range};
}

LockCall release_call_of(const model::FileLock& lock) {
    LockCall call = call_of(lock);
    if (call.range) {
        call.range->l_type = F_UNLCK;
    } else {
        call.command = LOCK_UN;
    }
    return call;
}

Result<> make_lock_call(trace::RemoteCalls& calls, int fd, const LockCall& call) {
    if (call.range) TRY(calls.write_scratch(std::as_bytes(std::span(&*call.range, 1))));
    TRY(calls.call(call.number,
                   {static_cast<std::uint64_t>(fd), call.command, calls.scratch().value}));
    return {};
}

bool is_held_elsewhere(int code) {
    return code == EAGAIN || code == EACCES;
}

}  // namespace ferry::resources
