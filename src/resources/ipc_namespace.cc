#include "resources/ipc_namespace.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "proc/user_namespace.h"
#include "resources/ipc_settings.h"
#include "resources/segment.h"
#include "resources/semaphore_set.h"
#include "resources/system_v_queue.h"

namespace ferry::resources {
namespace {

std::map<std::uint64_t, std::uint64_t> count_mappings(const model::Checkpoint& checkpoint) {
    std::map<std::uint64_t, std::uint64_t> mappings;
    for (const model::Process& process : checkpoint.processes) {
        for (const model::Vma& vma : process.address_space.vmas) {
            if (model::is_segment(vma.shared_id)) ++mappings[vma.shared_id];
        }
    }
    return mappings;
}

void forget_mappings(model::Checkpoint& checkpoint, std::uint64_t id) {
    for (model::Process& process : checkpoint.processes) {
        std::erase_if(process.address_space.vmas,
                      [id](const model::Vma& vma) { return vma.shared_id == id; });
    }
}

}  // namespace

Result<IpcNamespace> IpcNamespace::of(Pid member) {
    return IpcNamespace(TRY(os::open(fmt::format("/proc/{}/ns/ipc", member), O_RDONLY)),
                        TRY(proc::foreign_root(member)));
}

Result<model::IpcNamespace> IpcNamespace::outline() const {
    const os::IpcScope there = TRY(os::IpcScope::enter(fd_.get()));
    TRY(check_posix_queues());
    model::IpcNamespace found;
    found.settings = TRY(read_ipc_settings());
    return found;
}

Result<model::IpcNamespace> IpcNamespace::collect() const {
    model::IpcNamespace found = TRY(outline());
    const os::IpcScope there = TRY(os::IpcScope::enter(fd_.get()));
    found.semaphores = TRY(read_semaphores());
    found.queues = TRY(read_queues());
    return found;
}

Result<PosixQueues> IpcNamespace::collect_posix_queues(std::span<const OpenQueue> open,
                                                       os::MessageCustody& custody) const {
    const os::IpcScope there = TRY(os::IpcScope::enter(fd_.get()));
    return read_posix_queues(open, custody);
}

Result<> IpcNamespace::add_source(model::IpcSegment& segment) {
    const auto known = unattached_.find(segment.object.id);
    if (known == unattached_.end()) {
        unattached_[segment.object.id] = TRY(open_segment(segment));
    }
    segment.source = fmt::format("/proc/self/fd/{}", unattached_[segment.object.id].get());
    return {};
}

Result<> IpcNamespace::add_segments(model::Checkpoint& checkpoint, bool stands_still) {
    const os::IpcScope there = TRY(os::IpcScope::enter(fd_.get()));
    const std::vector<FoundSegment> found = TRY(find_segments());
    std::map<std::uint64_t, std::uint64_t> mappings = count_mappings(checkpoint);
    std::erase_if(unattached_, [&](const auto& known) {
        return std::ranges::none_of(
            found, [&](const FoundSegment& one) { return one.segment.object.id == known.first; });
    });
    for (const FoundSegment& one : found) {
        model::IpcSegment segment = one.segment;
        const auto id = static_cast<std::uint64_t>(segment.object.id);
        const auto own = mappings.extract(model::kSegmentIds | id);
        const std::uint64_t count = own.empty() ? 0 : own.mapped();
        if (stands_still && one.mappings > count) {
            return fail(Error::unsupported(fmt::format(
                "System V shared memory {} is also attached by a process outside of the tree",
                id)));
        }
        // Attaching and detaching it would be its end.
        if (one.mappings == 0 && checkpoint.ipc->settings.shm_rmid_forced != 0) {
            return fail(Error::unsupported(fmt::format(
                "System V shared memory {}, which nobody has attached, with shm_rmid_forced", id)));
        }
        if (count == 0) {
            auto added = add_source(segment);
            const bool is_gone =
                !added && (added.error().code() == EINVAL || added.error().code() == EIDRM);
            if (is_gone && !stands_still) continue;
            TRY(std::move(added));
        }
        checkpoint.ipc->segments.push_back(std::move(segment));
    }
    for (const auto& [id, count] : mappings) forget_mappings(checkpoint, id);
    return {};
}

Result<> IpcNamespace::loosen(const model::IpcNamespace& wanted) const {
    const os::IpcScope there = TRY(os::IpcScope::enter(fd_.get()));
    const os::UserScope root = TRY(os::UserScope::enter(root_));
    return loosen_ipc_settings(wanted.settings);
}

Result<> IpcNamespace::make(const model::IpcNamespace& wanted) const {
    const os::IpcScope there = TRY(os::IpcScope::enter(fd_.get()));
    const os::UserScope root = TRY(os::UserScope::enter(root_));
    TRY(make_semaphores(wanted.semaphores));
    return make_queues(wanted.queues);
}

Result<> IpcNamespace::settle(const model::IpcNamespace& wanted) const {
    const os::IpcScope there = TRY(os::IpcScope::enter(fd_.get()));
    const os::UserScope root = TRY(os::UserScope::enter(root_));
    TRY(settle_semaphores(wanted.semaphores));
    TRY(settle_queues(wanted.queues));
    return settle_ipc_settings(wanted.settings);
}

}  // namespace ferry::resources
