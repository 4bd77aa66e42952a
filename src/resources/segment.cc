#include "resources/segment.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/shm.h>
#include <unistd.h>

#include <utility>

#include "proc/process_directory.h"
#include "resources/system_v_object.h"

namespace ferry::resources {
namespace {

constexpr const char* kTable = "/proc/sysvipc/shm";
constexpr const char* kNextId = "/proc/sys/kernel/shm_next_id";

Result<os::UniqueFd> open_behind(const os::Attachment& attached, int flags) {
    return os::open(proc::mapped_file(Pid{::getpid()}, attached.range()), flags);
}

}  // namespace

Result<std::vector<FoundSegment>> find_segments() {
    std::vector<FoundSegment> segments;
    for (const proc::SystemVSegment& found :
         TRY(proc::parse_system_v_segments(TRY(os::read_file(kTable))))) {
        segments.push_back({.segment = {.object = to_model(found.object),
                                        .bytes = found.bytes,
                                        .removed = (found.object.mode & SHM_DEST) != 0,
                                        .locked = (found.object.mode & SHM_LOCKED) != 0},
                            .mappings = found.attached});
    }
    return segments;
}

Result<os::UniqueFd> open_segment(const model::IpcSegment& segment) {
    const auto attached = TRY(os::Attachment::attach(segment.object.id, segment.bytes, SHM_RDONLY));
    os::UniqueFd opened = TRY(open_behind(attached, O_RDONLY));
    if (TRY(os::file_system_type(opened.get())) != HUGETLBFS_MAGIC) return opened;
    return fail(Error::unsupported(
        fmt::format("System V shared memory {} of huge pages is not carried", segment.object.id)));
}

Result<NewSegment> NewSegment::make(const model::IpcSegment& wanted) {
    TRY(make_object(wanted.object, kNextId,
                    [&](int flags) { return os::shmget(wanted.object.key, wanted.bytes, flags); }));
    auto attached = TRY(os::Attachment::attach(wanted.object.id, wanted.bytes, 0));
    os::UniqueFd fd = TRY(open_behind(attached, O_RDWR));
    return NewSegment(wanted.object.id, std::move(attached), std::move(fd));
}

Result<> NewSegment::remove() {
    if (std::exchange(removed_, true)) return {};
    return os::remove_segment(id_);
}

Result<> NewSegment::settle(const model::IpcSegment& wanted) {
    TRY(os::set_segment_owner(id_, owner_of(wanted.object)));
    if (wanted.locked) TRY(os::lock_segment(id_));
    if (wanted.removed) TRY(remove());
    attached_ = {};
    return {};
}

}  // namespace ferry::resources
