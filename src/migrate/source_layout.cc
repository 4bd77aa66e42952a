#include <algorithm>
#include <utility>

#include "container/tmpfs_source.h"
#include "migrate/same_layout.h"
#include "migrate/source_session.h"

// The part of a source session that keeps the destination's layout like the tree's.

namespace ferry::migrate {

// Brings the destination's tasks and mappings up to the skeleton. Level by level: a child is staged
// by forking its parent's stub, after its parent's memory has been sent. All at once where the
// order of forks and sessions wants it so; then nothing is shared.
Result<> SourceSession::follow(const model::Checkpoint& skeleton) {
    const bool at_once = layout_.processes.empty() && skeleton.has_early_child();
    for (;;) {
        model::Checkpoint next = skeleton;
        next.processes.clear();
        std::vector<Pid> added;
        for (const model::Process& process : skeleton.processes) {
            const bool known = layout_.find_process(process.pid) != nullptr;
            const bool can_be_forked = layout_.find_process(process.parent) != nullptr;
            const bool is_root = process.pid == skeleton.root().pid;
            if (!known && !can_be_forked && !is_root && !at_once) continue;
            if (!known) added.push_back(process.pid);
            next.processes.push_back(process);
        }
        for (const Pid pid : added) {
            const Pid parent = next.find_process(pid)->parent;
            if (layout_.find_process(parent) != nullptr) TRY(memory_->send_written(parent));
        }
        const model::Checkpoint before = std::exchange(layout_, next);
        if (!same_layout(before, next)) TRY(send_layout(FrameType::Layout, next));
        for (const model::Process& process : before.processes) {
            if (next.find_process(process.pid) == nullptr) memory_->remove(process.pid);
        }
        for (const model::Process& process : next.processes) {
            if (before.find_process(process.pid) != nullptr) {
                TRY(memory_->follow(process));
                continue;
            }
            const bool forked = before.find_process(process.parent) != nullptr;
            const Result<> started = [&]() -> Result<> {
                return memory_->add(process, TRY(tree_->number_from_inside(process.pid)),
                                    forked ? std::optional(process.parent) : std::nullopt);
            }();
            // It has ended since the skeleton was taken; the next one will not have it.
            if (!started && started.error().kind() != Error::Kind::Gone) return started;
        }
        TRY(memory_->follow_shared(next));
        if (next.processes.size() == skeleton.processes.size()) return {};
    }
}

Result<> SourceSession::send_tmpfs() {
    if (!container_) return {};
    const std::string archive = TRY(container_->collect_files());
    return link_->send(FrameType::Files, std::as_bytes(std::span(archive)));
}

Result<> SourceSession::send_layout(FrameType type, const model::Checkpoint& layout) {
    TRY(send_tmpfs());
    TRY(send_checkpoint(type, layout));
    return with_context(
        [&]() -> Result<> {
            TRY(link_->expect(FrameType::Staged));
            return {};
        }(),
        "staging at the destination");
}

}  // namespace ferry::migrate
