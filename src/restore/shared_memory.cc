#include "restore/shared_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "os/memory.h"
#include "os/scope.h"
#include "proc/process_directory.h"
#include "resources/memfd.h"

namespace ferry::restore {
namespace {

// A memfd, or a descriptor of the object behind MAP_SHARED | MAP_ANONYMOUS, which no system call
// gives: it shows in maps as the original did, which a memfd would not.
Result<os::UniqueFd> make_nameless(const model::SharedMemory& memory) {
    if (memory.file) return resources::make_memfd(*memory.file);
    const int flags = MAP_SHARED | MAP_ANONYMOUS | (memory.no_reserve ? MAP_NORESERVE : 0);
    const auto mapping = TRY(os::Mapping::map(memory.bytes, PROT_READ | PROT_WRITE, flags));
    const RemoteAddr start{reinterpret_cast<std::uint64_t>(mapping.data())};
    return os::open(proc::mapped_file(Pid{::getpid()}, {start, start + memory.bytes}), O_RDWR);
}

}  // namespace

Result<> SharedMemories::follow(const model::Checkpoint& checkpoint) {
    const std::vector<model::SharedMemory> wanted = checkpoint.shared_memory();
    TRY(forget(wanted));
    for (const model::SharedMemory& memory : wanted) {
        if (!objects_.contains(memory.id)) {
            objects_[memory.id] =
                TRY(with_context(make(memory), fmt::format("shared memory {:#x}", memory.id)));
        }
        Object& object = objects_[memory.id];
        // Other objects have no size of their own: who maps the end again finds it as it was.
        const bool resize =
            memory.file ? memory.bytes != object.bytes : memory.bytes > object.bytes;
        if (!resize) continue;
        if (object.segment) return fail(Error::corrupt("a segment that has grown"));
        TRY(os::ftruncate(object.fd.get(), memory.bytes));
        object.bytes = memory.bytes;
    }
    return {};
}

// What was removed at the source goes here as well, or loses its key, which another may have by
// now.
Result<> SharedMemories::forget(const std::vector<model::SharedMemory>& wanted) {
    const os::IpcScope there = TRY(os::IpcScope::enter(ipc_));
    for (auto known = objects_.begin(); known != objects_.end();) {
        const auto at =
            std::ranges::lower_bound(wanted, known->first, {}, &model::SharedMemory::id);
        const bool stays = at != wanted.end() && at->id == known->first;
        std::optional<resources::NewSegment>& segment = known->second.segment;
        if (segment && (!stays || at->segment->removed)) TRY(segment->remove());
        known = stays ? std::next(known) : objects_.erase(known);
    }
    return {};
}

Result<SharedMemories::Object> SharedMemories::make(const model::SharedMemory& memory) const {
    if (!memory.segment) {
        return Object{.fd = TRY(make_nameless(memory)),
                      .bytes = memory.file ? 0 : memory.bytes,
                      .segment = {}};
    }
    const os::IpcScope there = TRY(os::IpcScope::enter(ipc_));
    auto segment = TRY(resources::NewSegment::make(*memory.segment));
    return Object{
        .fd = TRY(os::dup(segment.fd())), .bytes = memory.bytes, .segment = std::move(segment)};
}

Result<> SharedMemories::finish(const model::Checkpoint& checkpoint) {
    const os::IpcScope there = TRY(os::IpcScope::enter(ipc_));
    for (const model::SharedMemory& memory : checkpoint.shared_memory()) {
        if (memory.segment) {
            TRY(with_context(objects_.at(memory.id).segment->settle(*memory.segment),
                             fmt::format("segment {}", memory.segment->object.id)));
        }
        if (!memory.file) continue;
        TRY(with_context(resources::finish_memfd(fd(memory.id), *memory.file),
                         fmt::format("memfd {}", memory.file->name)));
    }
    return {};
}

int SharedMemories::fd(std::uint64_t id) const {
    const auto at = objects_.find(id);
    return at == objects_.end() ? -1 : at->second.fd.get();
}

// The descriptor of the object in which this lies.
Result<int> SharedMemories::place(std::uint64_t id, std::uint64_t offset,
                                  std::uint64_t bytes) const {
    const auto at = objects_.find(id);
    if (at == objects_.end() || offset > at->second.bytes || bytes > at->second.bytes - offset) {
        return fail(
            Error::corrupt(fmt::format("pages at {:#x} of shared memory {:#x}", offset, id)));
    }
    return at->second.fd.get();
}

Result<> SharedMemories::write(std::uint64_t id, std::uint64_t offset,
                               std::span<const std::byte> bytes) {
    return os::pwrite_all(TRY(place(id, offset, bytes.size())), bytes, offset);
}

Result<> SharedMemories::drop(std::uint64_t id, std::uint64_t offset, std::uint64_t bytes) {
    return os::punch_hole(TRY(place(id, offset, bytes)), offset, bytes);
}

}  // namespace ferry::restore
