#include "resources/system_v_queue.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
#include "os/fd.h"
#include "os/system_v.h"
#include "resources/system_v_object.h"

namespace ferry::resources {
namespace {

constexpr const char* kTable = "/proc/sysvipc/msg";
constexpr const char* kNextId = "/proc/sys/kernel/msg_next_id";

Result<model::SystemVQueue> read_one(const proc::SystemVObject& object, std::uint64_t& total) {
    const os::QueueSize size = TRY(os::queue_size(object.id));
    model::SystemVQueue queue = {
        .object = to_model(object), .bytes_max = size.bytes_max, .messages = {}};
    total += size.bytes;
    if (total > limits::kQueueBytesMax) {
        return fail(Error::limit(
            fmt::format("the message queues hold more than {} bytes", limits::kQueueBytesMax)));
    }
    for (std::uint64_t index = 0; index < size.messages; ++index) {
        os::QueuedBytes message = TRY(os::copy_message(object.id, index, size.bytes));
        queue.messages.push_back({.type = message.type, .content = std::move(message.content)});
    }
    return queue;
}

Result<> make_one(const model::SystemVQueue& queue) {
    const int id = queue.object.id;
    TRY(make_object(queue.object, kNextId,
                    [&](int flags) { return os::msgget(queue.object.key, flags); }));
    std::uint64_t bytes = queue.messages.size();  // an empty message takes its place, too
    for (const model::SystemVMessage& message : queue.messages) bytes += message.content.size();
    // The limit may have been lowered after they were sent.
    TRY(os::set_queue_owner(id, {.user = 0, .group = 0, .mode = kPermissions},
                            std::max(bytes, queue.bytes_max)));
    for (const model::SystemVMessage& message : queue.messages) {
        TRY(os::msgsnd(id, message.type, message.content));
    }
    return {};
}

}  // namespace

Result<std::vector<model::SystemVQueue>> read_queues() {
    std::vector<model::SystemVQueue> queues;
    std::uint64_t total = 0;
    for (const proc::SystemVQueue& found :
         TRY(proc::parse_system_v_queues(TRY(os::read_file(kTable))))) {
        queues.push_back(TRY(with_context(read_one(found.object, total),
                                          fmt::format("message queue {}", found.object.id))));
    }
    return queues;
}

Result<> make_queues(std::span<const model::SystemVQueue> queues) {
    for (const model::SystemVQueue& queue : queues) {
        TRY(with_context(make_one(queue), fmt::format("message queue {}", queue.object.id)));
    }
    return {};
}

Result<> settle_queues(std::span<const model::SystemVQueue> queues) {
    for (const model::SystemVQueue& queue : queues) {
        TRY(os::set_queue_owner(queue.object.id, owner_of(queue.object), queue.bytes_max));
    }
    return {};
}

}  // namespace ferry::resources
