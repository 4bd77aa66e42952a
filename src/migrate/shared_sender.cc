#include "migrate/shared_sender.h"

#include <signal.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "os/fd.h"
#include "proc/process_directory.h"

namespace ferry::migrate {
namespace {

AddrRange whole_range(std::uint64_t bytes) {
    return {RemoteAddr{0}, RemoteAddr{bytes}};
}

pages::PageSet moved_up(const pages::PageSet& set, std::uint64_t by) {
    pages::PageSet moved;
    for (const pages::PageRun& run : set.runs()) moved.add({run.start + by, run.end + by});
    return moved;
}

pages::PageSet moved_down(const pages::PageSet& set, std::uint64_t by) {
    pages::PageSet moved;
    for (const pages::PageRun& run : set.runs()) moved.add({run.start - by, run.end - by});
    return moved;
}

}  // namespace

SharedSender::SharedSender(Link& link, TrackerOf tracker_of, DirectReads direct_reads,
                           Watcher watcher)
    : link_(link),
      tracker_of_(std::move(tracker_of)),
      direct_reads_(std::move(direct_reads)),
      watcher_(std::move(watcher)),
      buffer_(pages::Reader::kBatchBytes) {}

Result<> SharedSender::follow(const model::Checkpoint& layout) {
    const std::vector<model::SharedMemory> wanted = layout.shared_memory();
    std::erase_if(objects_, [&](const auto& known) {
        return !std::ranges::binary_search(wanted, known.first, {}, &model::SharedMemory::id);
    });
    for (const model::SharedMemory& memory : wanted) {
        auto known = objects_.find(memory.id);
        if (known == objects_.end()) {
            auto opened = pages::open_object(memory);
            if (!opened && opened.error().kind() == Error::Kind::Gone) continue;
            if (!opened) return fail(std::move(opened.error()));
            Object object{.content = pages::SharedObject(std::move(*opened)),
                          .now = {},
                          .held = {},
                          .marked = {},
                          .looked_at = {},
                          .last_look = {}};
            known = objects_.emplace(memory.id, std::move(object)).first;
        }
        known->second.now = {.bytes = memory.bytes,
                             .mappers = {},
                             .is_compared = memory.file.has_value() || memory.pid.value == 0};
    }
    pids_.clear();
    for (const model::Process& process : layout.processes) {
        pids_.push_back(process.pid);
        for (const model::Vma& vma : process.address_space.vmas) {
            if (vma.kind != model::VmaKind::AnonShared) continue;
            const auto object = objects_.find(vma.shared_id);
            if (object == objects_.end()) continue;
            object->second.now.mappers.push_back({.pid = process.pid,
                                                  .range = vma.range,
                                                  .offset = vma.file_offset,
                                                  .only_reads = vma.attached_for_reading});
        }
    }
    return {};
}

// Nothing if somebody does not wait for its children, or has ended.
std::optional<SharedSender::Children> SharedSender::children_of(const std::vector<Pid>& pids) {
    constexpr std::uint64_t kChild = std::uint64_t{1} << (SIGCHLD - 1);
    Children children;
    for (const Pid pid : pids) {
        const auto directory = proc::ProcessDirectory::open(pid);
        if (!directory) return std::nullopt;
        const auto stat = directory->stat();
        const auto status = directory->status();
        if (!stat || !status || (status->ignored & kChild) != 0) return std::nullopt;
        children[pid] = stat->child_minor_faults;
    }
    return children;
}

// May run in another thread: only reads.
Result<SharedSender::Suspects> SharedSender::find_suspects(
    const Object& object, const Now& now, const std::optional<Children>& children) const {
    Suspects suspects;
    suspects.data = TRY(pages::find_data(object.content.fd(), now.bytes));
    const pages::PageSet far = object.content.taken().within(whole_range(now.bytes));
    if (now.is_compared || suspects.data.bytes() <= kCompareBytes) {
        suspects.pages = pages::unite(suspects.data, far);
        return suspects;
    }
    for (const Mapper& mapper : now.mappers) {
        if (mapper.only_reads) {
            suspects.unwatched.emplace_back();
            continue;
        }
        pages::Tracker* tracker = tracker_of_(mapper.pid);
        const AddrRange part = {RemoteAddr{mapper.offset},
                                RemoteAddr{mapper.offset + mapper.range.size()}};
        const pages::PageSet there = moved_down(
            moved_up(suspects.data.within(part), mapper.range.start.value), mapper.offset);
        // One that has ended shows in `children`.
        auto unwatched = tracker == nullptr ? there : tracker->find_unwatched(there.runs());
        suspects.unwatched.push_back(unwatched ? *unwatched : there);
    }
    suspects.lost = TRY(object.held.find_lost(suspects.data));
    const std::optional<Marked>& marked = object.marked;
    if (!marked || !children || marked->children != *children || marked->mappers != now.mappers) {
        suspects.pages = pages::unite(suspects.data, far);
        return suspects;
    }
    suspects.pages = pages::unite(suspects.lost, pages::subtract(far, suspects.data));
    suspects.pages.add(pages::subtract(suspects.data, marked->data));
    for (std::size_t i = 0; i < now.mappers.size(); ++i) {
        const Mapper& mapper = now.mappers[i];
        suspects.pages = pages::unite(
            suspects.pages,
            moved_down(moved_up(suspects.unwatched[i], mapper.offset), mapper.range.start.value));
    }
    return suspects;
}

// Only what the look has named is marked: whatever is written meanwhile elsewhere stays without a
// mark and is named by the next.
Result<> SharedSender::mark(Object& object, Suspects& suspects,
                            const std::optional<Children>& children) {
    object.marked.reset();
    if (suspects.unwatched.empty() || !children) return {};
    for (std::size_t i = 0; i < object.now.mappers.size(); ++i) {
        const Mapper& mapper = object.now.mappers[i];
        if (mapper.only_reads) continue;
        pages::Tracker* tracker = tracker_of_(mapper.pid);
        if (tracker == nullptr) return {};
        const Result<> watched = [&]() -> Result<> {
            // Where this is false now, pages stay without a mark.
            TRY(tracker->register_range(mapper.range, pages::Backing::Anonymous));
            return tracker->watch(suspects.unwatched[i]);
        }();
        if (!watched && watched.error().kind() == Error::Kind::Gone) return {};
        if (!watched) return watched;
    }
    TRY(object.held.hold(object.content.fd(), object.now.bytes, suspects.lost));
    object.marked = {
        .mappers = object.now.mappers, .children = *children, .data = std::move(suspects.data)};
    return {};
}

Result<bool> SharedSender::is_read_into(const Object& object) const {
    for (const Mapper& mapper : object.now.mappers) {
        const pages::PageSet under_way = TRY(direct_reads_(mapper.pid));
        if (!under_way.within(mapper.range).empty()) return true;
    }
    return false;
}

Result<Moved> SharedSender::send_changed() {
    Moved moved;
    const std::optional<Children> now = children_of(pids_);
    for (auto& [id, object] : objects_) {
        object.last_look = {};
        Suspects suspects = TRY(find_suspects(object, object.now, now));
        TRY(mark(object, suspects, now));
        if (object.marked && TRY(is_read_into(object))) object.marked.reset();
        moved += TRY(send(id, object, suspects.pages));
    }
    return moved;
}

Result<pages::PageSet> SharedSender::look(const Object& object, const Now& now,
                                          const std::vector<Pid>& pids) const {
    const Suspects suspects = TRY(find_suspects(object, now, children_of(pids)));
    return object.content.find_changed(suspects.pages);
}

Result<std::uint64_t> SharedSender::changed_bytes() {
    std::uint64_t bytes = 0;
    for (const auto& [id, object] : objects_) bytes += TRY(look(object, object.now, pids_)).bytes();
    return bytes;
}

void SharedSender::start_last_look() {
    for (auto& [id, object] : objects_) {
        object.looked_at = object.now;
        object.last_look = std::async(std::launch::async, [this, &object, pids = pids_] {
            return look(object, object.looked_at, pids);
        });
    }
}

Result<Moved> SharedSender::send_last() {
    Moved moved;
    for (auto& [id, object] : objects_) {
        pages::PageSet changed;
        if (object.last_look.valid()) changed = TRY(object.last_look.get());
        // Mapped otherwise, or new, since the look began.
        if (object.looked_at != object.now) {
            object.marked.reset();
            changed = TRY(look(object, object.now, pids_));
        }
        moved += TRY(send(id, object, changed));
    }
    return moved;
}

Result<Moved> SharedSender::send(std::uint64_t id, Object& object, const pages::PageSet& suspects) {
    Moved moved;
    TRY(object.content.take_changed(
        suspects, buffer_, [&](pages::PageBatch& batch) { return send_batch(id, batch, moved); }));
    return moved;
}

Result<> SharedSender::send_batch(std::uint64_t id, pages::PageBatch& batch, Moved& moved) {
    const pages::PageOwner owner = pages::pages_of_shared(id);
    std::span<const pages::PageRun> gone = batch.zeros.runs();
    while (!gone.empty()) {
        const std::size_t encoded = frame_.encode_drops(owner, gone);
        CHECK(encoded > 0);
        TRY(link_.send_parts(FrameType::Pages, frame_.parts()));
        gone = gone.subspan(encoded);
    }
    moved.zero_pages += batch.zeros.pages();
    batch.zeros.clear();
    if (batch.data.empty()) return {};
    frame_.encode(owner, batch);
    TRY(link_.send_parts(FrameType::Pages, frame_.parts()));
    moved.pages += batch.data_bytes / kPageSize;
    moved.bytes += batch.data_bytes;
    return watcher_(batch.data_bytes);
}

}  // namespace ferry::migrate
