#include "model/checkpoint.h"

#include <algorithm>
#include <map>

namespace ferry::model {

namespace {

// One that is not in the list was removed since the mapping was seen, and is no object any more.
void add_segments(const IpcNamespace& ipc, std::map<std::uint64_t, SharedMemory>& known) {
    constexpr std::uint64_t kOtherLabels = std::uint64_t{1} << 40;
    for (const IpcSegment& segment : ipc.segments) {
        const auto number = static_cast<std::uint64_t>(segment.object.id);
        SharedMemory& memory = known[kSegmentIds | number];
        memory.id = kSegmentIds | number;
        memory.bytes = page_align_up(segment.bytes);
        memory.segment = segment;
        memory.label = known.contains(number) ? kOtherLabels + number : number;
    }
    std::erase_if(
        known, [](const auto& entry) { return is_segment(entry.first) && !entry.second.segment; });
}

}  // namespace

std::vector<SharedMemory> Checkpoint::shared_memory() const {
    std::map<std::uint64_t, SharedMemory> known;
    for (const OpenFile& open : files) {
        const auto* file = std::get_if<MemoryFile>(&open.body);
        if (file == nullptr) continue;
        known[file->inode] = {.id = file->inode,
                              .bytes = page_align_up(file->bytes),
                              .no_reserve = false,
                              .pid = {},
                              .range = {},
                              .file = *file};
    }
    for (const Process& process : processes) {
        for (const Vma& vma : process.address_space.vmas) {
            if (!vma.maps_anonymous_object()) continue;
            const auto at = known.try_emplace(vma.shared_id, SharedMemory{.id = vma.shared_id,
                                                                          .bytes = 0,
                                                                          .no_reserve = false,
                                                                          .pid = process.pid,
                                                                          .range = vma.range});
            SharedMemory& memory = at.first->second;
            memory.bytes = std::max(memory.bytes, vma.file_offset + vma.range.size());
            memory.no_reserve =
                memory.no_reserve || (vma.no_reserve && vma.kind == VmaKind::AnonShared);
        }
    }
    if (ipc) add_segments(*ipc, known);
    std::vector<SharedMemory> all;
    for (auto& [id, memory] : known) {
        if (!memory.segment) memory.label = id;
        all.push_back(memory);
    }
    return all;
}

void renumber(Checkpoint& checkpoint, const Renumbering& ids) {
    const auto change = [&ids](pid_t& id) {
        const auto found = ids.find(id);
        id = found == ids.end() ? 0 : found->second;
    };
    for (Process& process : checkpoint.processes) {
        for (Pid* id : {&process.pid, &process.parent, &process.group, &process.session}) {
            change(id->value);
        }
        for (Thread& thread : process.threads) change(thread.tid.value);
        for (PosixTimer& timer : process.posix_timers) change(timer.notify_tid);
    }
    for (OpenFile& file : checkpoint.files) {
        change(file.owner.pid);
        if (auto* pidfd = std::get_if<PidFile>(&file.body)) change(pidfd->task);
        auto* socket = std::get_if<UnixSocket>(&file.body);
        if (socket != nullptr && socket->listener) change(socket->listener->pid);
    }
    for (FileLock& lock : checkpoint.locks) change(lock.pid.value);
    for (Terminal& terminal : checkpoint.terminals) {
        change(terminal.session);
        change(terminal.foreground);
    }
    if (!checkpoint.ipc) return;
    for (PosixQueue& queue : checkpoint.ipc->posix_queues) {
        if (queue.notification) change(queue.notification->pid.value);
    }
}

}  // namespace ferry::model
