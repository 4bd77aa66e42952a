#include "image/locks_codec.h"

#include <fcntl.h>

#include "base/limits.h"
#include "image/proto/files.pb.h"
#include "image/records.h"

namespace ferry::image {
namespace {

using model::LockKind;

constexpr const char* kLocksName = "filelocks.img";
// The flag field; a flock(2) lock has its type as F_RDLCK and F_WRLCK, too.
constexpr std::uint32_t kProcess = 1, kFlock = 2, kDescription = 4;

std::uint32_t flag_of(LockKind kind) {
    switch (kind) {
        case LockKind::Process:
            return kProcess;
        case LockKind::Flock:
            return kFlock;
        case LockKind::Description:
            return kDescription;
    }
    return 0;
}

Result<LockKind> kind_of(std::uint32_t flag) {
    if (flag == kProcess) return LockKind::Process;
    if (flag == kFlock) return LockKind::Flock;
    if (flag == kDescription) return LockKind::Description;
    return fail(Error::unsupported("a lease, or another unknown lock of a file"));
}

Result<model::FileLock> lock_from_wire(const wire::FileLock& from) {
    const bool sane = (from.type() == F_RDLCK || from.type() == F_WRLCK) && from.start() >= 0 &&
                      from.len() >= 0 && from.fd() >= 0;
    if (!sane) return fail(Error::corrupt("a lock of a file"));
    return model::FileLock{.kind = TRY(kind_of(from.flag())),
                           .exclusive = from.type() == F_WRLCK,
                           .pid = {from.pid()},
                           .fd = from.fd(),
                           .start = static_cast<std::uint64_t>(from.start()),
                           .length = static_cast<std::uint64_t>(from.len())};
}

}  // namespace

Result<> put_locks(const model::Checkpoint& checkpoint, ImageStore& into) {
    if (checkpoint.locks.empty()) return {};
    RecordWriter writer(Magic::FileLocks);
    for (const model::FileLock& lock : checkpoint.locks) {
        wire::FileLock record;
        record.set_flag(flag_of(lock.kind));
        record.set_type(lock.exclusive ? F_WRLCK : F_RDLCK);
        record.set_pid(lock.pid.value);
        record.set_fd(lock.fd);
        record.set_start(static_cast<std::int64_t>(lock.start));
        record.set_len(static_cast<std::int64_t>(lock.length));
        TRY(writer.add(record));
    }
    return into.put(kLocksName, writer.bytes());
}

Result<> get_locks(const ImageStore& from, model::Checkpoint& into) {
    const std::optional<model::Bytes> bytes = TRY(from.get(kLocksName));
    if (!bytes) return {};
    RecordReader reader = TRY(RecordReader::open(kLocksName, *bytes, Magic::FileLocks));
    while (!reader.at_end()) {
        wire::FileLock record;
        TRY(reader.next(record));
        if (into.locks.size() == limits::kFilesMax) return fail(Error::limit("too many locks"));
        into.locks.push_back(TRY(lock_from_wire(record)));
    }
    return {};
}

}  // namespace ferry::image
