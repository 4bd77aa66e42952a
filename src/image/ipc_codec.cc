#include "image/ipc_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/limits.h"
#include "image/proto/ipc.pb.h"
#include "image/records.h"

namespace ferry::image {
namespace {

// The number is that of the namespace in ids-PID.img.
constexpr const char* kSettings = "ipcns-var-3.img";
constexpr const char* kSemaphores = "ipcns-sem-3.img";
constexpr const char* kSegments = "ipcns-shm-3.img";
constexpr const char* kQueues = "ipcns-msg-3.img";
constexpr std::uint32_t kValueMax = 32767;  // of a semaphore (semctl(2))

using model::IpcSettings;

void object_to_wire(const model::IpcObject& object, wire::IpcDesc& into) {
    into.set_key(static_cast<std::uint32_t>(object.key));
    into.set_uid(object.uid);
    into.set_gid(object.gid);
    into.set_cuid(object.cuid);
    into.set_cgid(object.cgid);
    into.set_mode(object.mode);
    into.set_id(static_cast<std::uint32_t>(object.id));
}

Result<model::IpcObject> object_from_wire(const wire::IpcDesc& from) {
    constexpr std::uint32_t kPermissions = 0777;
    if (from.id() > std::uint32_t{std::numeric_limits<std::int32_t>::max()}) {
        return fail(Error::corrupt(fmt::format("an IPC object with the id {}", from.id())));
    }
    return model::IpcObject{.id = static_cast<std::int32_t>(from.id()),
                            .key = static_cast<std::int32_t>(from.key()),
                            .mode = from.mode() & kPermissions,
                            .uid = from.uid(),
                            .gid = from.gid(),
                            .cuid = from.cuid(),
                            .cgid = from.cgid()};
}

// The format has 32 bits where the kernel has more or as many.
std::uint32_t narrow(std::uint64_t value) {
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(value, std::numeric_limits<std::int32_t>::max()));
}

Result<> put_settings(const IpcSettings& settings, ImageStore& into) {
    wire::IpcVar entry;
    for (const std::uint64_t value : settings.sem) entry.add_sem_ctls(narrow(value));
    entry.set_msg_ctlmax(narrow(settings.msgmax));
    entry.set_msg_ctlmnb(narrow(settings.msgmnb));
    entry.set_msg_ctlmni(narrow(settings.msgmni));
    entry.set_auto_msgmni(0);  // without effect since Linux 3.19
    entry.set_shm_ctlmax(settings.shmmax);
    entry.set_shm_ctlall(settings.shmall);
    entry.set_shm_ctlmni(narrow(settings.shmmni));
    entry.set_shm_rmid_forced(narrow(settings.shm_rmid_forced));
    entry.set_mq_queues_max(narrow(settings.queues_max));
    entry.set_mq_msg_max(narrow(settings.msg_max));
    entry.set_mq_msgsize_max(narrow(settings.msgsize_max));
    entry.set_mq_msg_default(narrow(settings.msg_default));
    entry.set_mq_msgsize_default(narrow(settings.msgsize_default));
    return put_one(into, kSettings, Magic::IpcVar, entry);
}

Result<IpcSettings> settings_from_wire(const wire::IpcVar& from) {
    IpcSettings settings;
    if (static_cast<std::size_t>(from.sem_ctls_size()) != settings.sem.size()) {
        return fail(Error::corrupt(fmt::format("{}: kernel.sem", kSettings)));
    }
    for (std::size_t i = 0; i < settings.sem.size(); ++i) {
        settings.sem[i] = from.sem_ctls(static_cast<int>(i));
    }
    settings.msgmax = from.msg_ctlmax();
    settings.msgmnb = from.msg_ctlmnb();
    settings.msgmni = from.msg_ctlmni();
    settings.shmmax = from.shm_ctlmax();
    settings.shmall = from.shm_ctlall();
    settings.shmmni = from.shm_ctlmni();
    settings.shm_rmid_forced = from.shm_rmid_forced();
    settings.queues_max = from.mq_queues_max();
    settings.msg_max = from.mq_msg_max();
    settings.msgsize_max = from.mq_msgsize_max();
    // What the kernel has by itself (mq_overview(7)).
    settings.msg_default = from.has_mq_msg_default() ? from.mq_msg_default() : 10;
    settings.msgsize_default = from.has_mq_msgsize_default() ? from.mq_msgsize_default() : 8192;
    return settings;
}

void add_padding(RecordWriter& writer, std::size_t size) {
    static constexpr std::array<std::byte, sizeof(std::uint64_t)> kZeros{};
    writer.add_raw(std::span(kZeros).first((kZeros.size() - size % kZeros.size()) % kZeros.size()));
}

// The bytes, without what follows them to a multiple of eight.
Result<std::span<const std::byte>> padded(RecordReader& reader, std::uint64_t size) {
    constexpr std::uint64_t kWord = sizeof(std::uint64_t);
    return TRY(reader.raw((size + kWord - 1) / kWord * kWord)).first(size);
}

// The two bits that the kernel keeps with the mode (shmctl(2)).
constexpr std::uint32_t kRemoved = 01000, kLocked = 02000;

Result<> put_segments(const model::IpcNamespace& ipc, ImageStore& into) {
    if (ipc.segments.empty()) return {};
    RecordWriter writer(Magic::IpcShm);
    for (const model::IpcSegment& segment : ipc.segments) {
        wire::IpcShm entry;
        wire::IpcDesc& desc = *entry.mutable_desc();
        object_to_wire(segment.object, desc);
        desc.set_mode(segment.object.mode | (segment.removed ? kRemoved : 0) |
                      (segment.locked ? kLocked : 0));
        entry.set_size(segment.bytes);
        entry.set_in_pagemaps(true);
        TRY(writer.add(entry));
    }
    return into.put(kSegments, writer.bytes());
}

Result<> get_segments(const ImageStore& from, model::IpcNamespace& into) {
    const std::optional<model::Bytes> bytes = TRY(from.get(kSegments));
    if (!bytes) return {};
    RecordReader reader = TRY(RecordReader::open(kSegments, *bytes, Magic::IpcShm));
    while (!reader.at_end()) {
        wire::IpcShm entry;
        TRY(reader.next(entry));
        if (entry.hugetlb_flag() != 0) return fail(Error::unsupported("a segment of huge pages"));
        if (!entry.in_pagemaps()) {
            return fail(Error::unsupported("a segment whose content is beside the pagemaps"));
        }
        if (entry.size() == 0 || entry.size() > limits::kMemfdBytesMax) {
            return fail(Error::corrupt(fmt::format("a segment of {} bytes", entry.size())));
        }
        into.segments.push_back({.object = TRY(object_from_wire(entry.desc())),
                                 .bytes = entry.size(),
                                 .removed = (entry.desc().mode() & kRemoved) != 0,
                                 .locked = (entry.desc().mode() & kLocked) != 0,
                                 .source = {}});
    }
    return {};
}

Result<> put_semaphores(const model::IpcNamespace& ipc, ImageStore& into) {
    if (ipc.semaphores.empty()) return {};
    RecordWriter writer(Magic::IpcSem);
    for (const model::SemaphoreSet& set : ipc.semaphores) {
        wire::IpcSem entry;
        object_to_wire(set.object, *entry.mutable_desc());
        entry.set_nsems(static_cast<std::uint32_t>(set.values.size()));
        TRY(writer.add(entry));
        const auto values = std::as_bytes(std::span(set.values));
        writer.add_raw(values);
        add_padding(writer, values.size());
    }
    return into.put(kSemaphores, writer.bytes());
}

Result<> get_semaphores(const ImageStore& from, model::IpcNamespace& into) {
    const std::optional<model::Bytes> bytes = TRY(from.get(kSemaphores));
    if (!bytes) return {};
    RecordReader reader = TRY(RecordReader::open(kSemaphores, *bytes, Magic::IpcSem));
    while (!reader.at_end()) {
        wire::IpcSem entry;
        TRY(reader.next(entry));
        model::SemaphoreSet set = {.object = TRY(object_from_wire(entry.desc())), .values = {}};
        const auto raw = TRY(padded(reader, std::uint64_t{entry.nsems()} * sizeof(std::uint16_t)));
        set.values.resize(entry.nsems());
        if (!raw.empty()) std::memcpy(set.values.data(), raw.data(), raw.size());
        for (const std::uint16_t value : set.values) {
            if (value > kValueMax) return fail(Error::corrupt("the value of a semaphore"));
        }
        if (set.values.empty()) return fail(Error::corrupt("an empty semaphore set"));
        into.semaphores.push_back(std::move(set));
    }
    return {};
}

Result<> put_queues(const model::IpcNamespace& ipc, ImageStore& into) {
    if (ipc.queues.empty()) return {};
    RecordWriter writer(Magic::IpcMsg);
    for (const model::SystemVQueue& queue : ipc.queues) {
        wire::IpcMsg entry;
        object_to_wire(queue.object, *entry.mutable_desc());
        entry.set_qbytes(static_cast<std::uint32_t>(queue.bytes_max));
        entry.set_qnum(static_cast<std::uint32_t>(queue.messages.size()));
        TRY(writer.add(entry));
        for (const model::SystemVMessage& message : queue.messages) {
            wire::IpcMessage head;
            head.set_mtype(static_cast<std::uint64_t>(message.type));
            head.set_msize(static_cast<std::uint32_t>(message.content.size()));
            TRY(writer.add(head));
            writer.add_raw(message.content);
            add_padding(writer, message.content.size());
        }
    }
    return into.put(kQueues, writer.bytes());
}

Result<model::SystemVMessage> next_message(RecordReader& reader) {
    wire::IpcMessage head;
    TRY(reader.next(head));
    const auto type = static_cast<std::int64_t>(head.mtype());
    if (type <= 0) return fail(Error::corrupt("the type of a System V message"));
    const auto content = TRY(padded(reader, head.msize()));
    return model::SystemVMessage{.type = type, .content = {content.begin(), content.end()}};
}

Result<> get_queues(const ImageStore& from, model::IpcNamespace& into) {
    const std::optional<model::Bytes> bytes = TRY(from.get(kQueues));
    if (!bytes) return {};
    RecordReader reader = TRY(RecordReader::open(kQueues, *bytes, Magic::IpcMsg));
    while (!reader.at_end()) {
        wire::IpcMsg entry;
        TRY(reader.next(entry));
        model::SystemVQueue queue = {.object = TRY(object_from_wire(entry.desc())),
                                     .bytes_max = entry.qbytes(),
                                     .messages = {}};
        for (std::uint32_t i = 0; i < entry.qnum(); ++i) {
            queue.messages.push_back(TRY(next_message(reader)));
        }
        into.queues.push_back(std::move(queue));
    }
    return {};
}

void put_posix_queue(const model::PosixQueue& queue, wire::FerryMessageQueue& into) {
    into.set_inode(queue.inode);
    into.set_name(queue.name);
    into.set_unlinked(queue.unlinked);
    into.set_mode(queue.mode);
    into.set_uid(queue.uid);
    into.set_gid(queue.gid);
    into.set_messages_max(queue.messages_max);
    into.set_message_bytes_max(queue.message_bytes_max);
    for (const model::PosixMessage& message : queue.messages) {
        wire::FerryMessage& entry = *into.add_messages();
        entry.set_priority(message.priority);
        entry.set_content(message.content.data(), message.content.size());
    }
    if (!queue.notification) return;
    into.set_notified(queue.notification->pid.value);
    into.set_signal(static_cast<std::uint32_t>(queue.notification->signal));
}

Result<model::PosixQueue> posix_queue_from_wire(const wire::FerryMessageQueue& from) {
    model::PosixQueue queue = {.inode = from.inode(),
                               .name = from.name(),
                               .unlinked = from.unlinked(),
                               .mode = from.mode(),
                               .uid = from.uid(),
                               .gid = from.gid(),
                               .messages_max = from.messages_max(),
                               .message_bytes_max = from.message_bytes_max(),
                               .messages = {},
                               .notification = {}};
    for (const wire::FerryMessage& message : from.messages()) {
        const auto content = std::as_bytes(std::span(message.content()));
        queue.messages.push_back(
            {.priority = message.priority(), .content = {content.begin(), content.end()}});
    }
    if (!from.has_notified()) return queue;
    if (from.signal() > model::kSignals) {
        return fail(Error::corrupt(fmt::format("message queue {}: a signal", queue.name)));
    }
    queue.notification = {.pid = Pid{from.notified()}, .signal = static_cast<int>(from.signal())};
    return queue;
}

}  // namespace

Result<> put_ipc(const model::Checkpoint& checkpoint, ImageStore& into,
                 wire::FerryCheckpoint& extra) {
    if (!checkpoint.ipc) return {};
    TRY(put_settings(checkpoint.ipc->settings, into));
    TRY(put_segments(*checkpoint.ipc, into));
    TRY(put_semaphores(*checkpoint.ipc, into));
    for (const model::PosixQueue& queue : checkpoint.ipc->posix_queues) {
        put_posix_queue(queue, *extra.add_message_queues());
    }
    return put_queues(*checkpoint.ipc, into);
}

Result<> get_ipc(const ImageStore& from, const wire::FerryCheckpoint& extra,
                 model::Checkpoint& into) {
    wire::IpcVar settings;
    if (!TRY(get_one(from, kSettings, Magic::IpcVar, settings))) return {};
    into.ipc.emplace();
    into.ipc->settings = TRY(settings_from_wire(settings));
    TRY(get_segments(from, *into.ipc));
    TRY(get_semaphores(from, *into.ipc));
    for (const wire::FerryMessageQueue& queue : extra.message_queues()) {
        into.ipc->posix_queues.push_back(TRY(posix_queue_from_wire(queue)));
    }
    return get_queues(from, *into.ipc);
}

}  // namespace ferry::image
