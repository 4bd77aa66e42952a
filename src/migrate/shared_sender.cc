#include "migrate/shared_sender.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "os/fd.h"
#include "proc/process_directory.h"

namespace ferry::migrate {
namespace {

bool has_vanished(const Error& error) {
    return error.code() == ENOENT || error.code() == ESRCH;
}

}  // namespace

SharedSender::SharedSender(Link& link, Watcher watcher)
    : link_(link), watcher_(std::move(watcher)), buffer_(pages::Reader::kBatchBytes) {}

Result<> SharedSender::follow(const model::Checkpoint& layout) {
    const std::vector<model::SharedMemory> wanted = layout.shared_memory();
    std::erase_if(objects_, [&](const auto& known) {
        return !std::ranges::binary_search(wanted, known.first, {}, &model::SharedMemory::id);
    });
    for (const model::SharedMemory& memory : wanted) {
        auto known = objects_.find(memory.id);
        if (known == objects_.end()) {
            auto object = os::open(proc::mapped_file(memory.pid, memory.range), O_RDONLY);
            if (!object && has_vanished(object.error())) continue;
            if (!object) return fail(std::move(object.error()));
            known =
                objects_
                    .emplace(memory.id, Object{.content = pages::SharedObject(std::move(*object)),
                                               .bytes = 0,
                                               .looked_at = 0,
                                               .last_look = {}})
                    .first;
        }
        known->second.bytes = memory.bytes;
    }
    return {};
}

Result<Moved> SharedSender::send_changed() {
    Moved moved;
    for (auto& [id, object] : objects_) {
        object.last_look = {};
        moved += TRY(send(id, object, TRY(object.content.suspects(object.bytes))));
    }
    return moved;
}

Result<std::uint64_t> SharedSender::changed_bytes() {
    std::uint64_t bytes = 0;
    for (const auto& [id, object] : objects_) {
        bytes += TRY(object.content.find_changed(object.bytes)).bytes();
    }
    return bytes;
}

void SharedSender::start_last_look() {
    for (auto& [id, object] : objects_) {
        object.looked_at = object.bytes;
        object.last_look =
            std::async(std::launch::async, [&content = object.content, bytes = object.bytes] {
                return content.find_changed(bytes);
            });
    }
}

Result<Moved> SharedSender::send_last() {
    Moved moved;
    for (auto& [id, object] : objects_) {
        const bool looked = object.last_look.valid() && object.looked_at == object.bytes;
        pages::PageSet suspects;
        if (object.last_look.valid()) suspects = TRY(object.last_look.get());
        if (!looked) suspects = TRY(object.content.suspects(object.bytes));
        moved += TRY(send(id, object, suspects));
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
