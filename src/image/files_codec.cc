#include "image/files_codec.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <span>

#include "base/limits.h"
#include "image/ghost_codec.h"
#include "image/link_sockets_codec.h"
#include "image/memfd_codec.h"
#include "image/pidfd_codec.h"
#include "image/records.h"
#include "image/sockets_codec.h"
#include "image/time_codec.h"

namespace ferry::image {

namespace {

constexpr const char* kFilesName = "files.img";
constexpr const char* kPipesDataName = "pipes-data.img";
constexpr const char* kFifoDataName = "fifo-data.img";
constexpr const char* kSocketQueuesName = "sk-queues.img";
constexpr std::size_t kPathMax = 4096;
constexpr std::size_t kBuildIdMax = 64;
constexpr std::uint32_t kCloseOnExec = 1;
constexpr int kEpollTargetsMax = 1 << 20;
constexpr std::uint64_t kNanosPerSecond = 1'000'000'000;
// MAX_HANDLE_SZ (name_to_handle_at(2)); CRIU's images always have all of it.
constexpr std::size_t kHandleWords = 16;
constexpr int kWatchesMax = 1 << 20;

std::string descriptors_name(std::uint32_t number) {
    return fmt::format("fdinfo-{}.img", number);
}

const char* refused_type(std::uint32_t type) {
    switch (type) {
        case 12:
            return "a fanotify descriptor";
        case 14:
            return "a namespace descriptor";
        case 15:
            return "a TUN device";
        case 19:
            return "a BPF map";
        default:
            return nullptr;
    }
}

void watch_to_wire(const model::InotifyWatch& watch, model::FileId file, wire::InotifyWatch& into) {
    into.set_id(file);
    into.set_i_ino(watch.inode);
    into.set_mask(watch.mask);
    into.set_ignored_mask(0);
    into.set_s_dev(watch.device);
    into.set_wd(static_cast<std::uint32_t>(watch.number));
    wire::FileHandle& handle = *into.mutable_f_handle();
    handle.set_bytes(static_cast<std::uint32_t>(watch.handle.size()));
    handle.set_type(static_cast<std::uint32_t>(watch.handle_type));
    std::array<std::uint64_t, kHandleWords> words = {};
    std::memcpy(words.data(), watch.handle.data(), std::min(watch.handle.size(), sizeof(words)));
    handle.mutable_handle()->Assign(words.begin(), words.end());
    if (!watch.path.empty()) handle.set_path(watch.path);
}

// Fills the type's own record of a FileEntry.
struct FileToWire {
    const model::OpenFile& file;
    wire::FileEntry& entry;
    wire::FerryFile& extra;
    bool& has_extra;
    MemfdInodes& memfds;

    template <class Record>
    Record& begin(FileType type, Record* record) const {
        entry.set_type(static_cast<std::uint32_t>(type));
        record->set_id(file.id);
        record->set_flags(file.flags);
        owner_to_wire(file.owner, *record->mutable_fown());
        return *record;
    }

    Result<> operator()(const model::RegularFile& regular) const {
        wire::RegFile& reg = begin(FileType::Regular, entry.mutable_reg());
        reg.set_pos(static_cast<std::uint64_t>(regular.position));
        reg.set_name(regular.path);
        if (regular.size) reg.set_size(*regular.size);
        reg.set_mode(regular.mode);
        std::vector<std::uint32_t> words(regular.build_id.size() / sizeof(std::uint32_t));
        if (words.size() * sizeof(std::uint32_t) == regular.build_id.size() && !words.empty()) {
            std::memcpy(words.data(), regular.build_id.data(), regular.build_id.size());
            reg.mutable_build_id()->Assign(words.begin(), words.end());
        }
        return {};
    }

    // FIFOs: put_with_twin.
    Result<> operator()(const model::PipeEnd& end) const {
        begin(FileType::Pipe, entry.mutable_pipe()).set_pipe_id(end.pipe_id);
        return {};
    }

    Result<> operator()(const model::EventFd& event) const {
        begin(FileType::EventFd, entry.mutable_efd()).set_counter(event.counter);
        extra.set_eventfd_semaphore(event.semaphore);
        has_extra = event.semaphore;
        return {};
    }

    Result<> operator()(const model::EventPoll& poll) const {
        wire::EventPollFile& record = begin(FileType::EventPoll, entry.mutable_epfd());
        for (const model::EpollTarget& target : poll.targets) {
            wire::EventPollTarget& w = *record.add_tfd();
            w.set_id(0);
            w.set_tfd(static_cast<std::uint32_t>(target.fd));
            w.set_events(target.events);
            w.set_data(target.data);
            w.set_dev(static_cast<std::uint32_t>(target.device));
            w.set_inode(target.inode);
            w.set_pos(target.position);
        }
        return {};
    }

    Result<> operator()(const model::SignalFd& signals) const {
        begin(FileType::SignalFd, entry.mutable_sgfd()).set_mask(signals.mask);
        return {};
    }

    Result<> operator()(const model::TimerFd& timer) const {
        wire::TimerFdFile& record = begin(FileType::TimerFd, entry.mutable_tfd());
        record.set_clockid(static_cast<std::uint32_t>(timer.clock));
        record.set_ticks(timer.ticks);
        record.set_settime_flags(timer.settime_flags);
        record.set_vsec(timer.value_ns / kNanosPerSecond);
        record.set_vnsec(timer.value_ns % kNanosPerSecond);
        record.set_isec(timer.interval_ns / kNanosPerSecond);
        record.set_insec(timer.interval_ns % kNanosPerSecond);
        return {};
    }

    Result<> operator()(const model::MemoryFile& memory) const {
        wire::MemfdFile& record = begin(FileType::MemFd, entry.mutable_memfd());
        record.set_pos(static_cast<std::uint64_t>(memory.position));
        record.set_inode_id(memfds.number_of(memory));
        return {};
    }

    // CRIU's record has room for no more: it hands such files to a plugin.
    Result<> operator()(const model::GivenStream& given) const {
        entry.set_type(static_cast<std::uint32_t>(FileType::External));
        entry.mutable_ext()->set_id(file.id);
        owner_to_wire(file.owner, *entry.mutable_ext()->mutable_fown());
        wire::FerryStream& stream = *extra.mutable_stream();
        stream.set_number(static_cast<std::uint32_t>(given.number));
        stream.set_flags(file.flags);
        stream.set_has_position(given.position.has_value());
        stream.set_position(given.position.value_or(0));
        stream.set_size(given.size);
        has_extra = true;
        return {};
    }

    // To CRIU, a file by a path that leads nowhere.
    Result<> operator()(const model::MessageQueueFile& queue) const {
        wire::RegFile& reg = begin(FileType::Regular, entry.mutable_reg());
        reg.set_pos(static_cast<std::uint64_t>(queue.position));
        reg.set_name(queue.name);
        extra.set_message_queue(queue.queue);
        has_extra = true;
        return {};
    }

    // put_with_twin.
    Result<> operator()(const model::TerminalFile& end) const {
        begin(FileType::Terminal, entry.mutable_tty())
            .set_tty_info_id(terminal_record(end.index, end.is_master));
        return {};
    }

    Result<> operator()(const model::Inotify& inotify) const {
        wire::InotifyFile& record = begin(FileType::Inotify, entry.mutable_ify());
        for (const model::InotifyWatch& watch : inotify.watches) {
            watch_to_wire(watch, file.id, *record.add_wd());
        }
        return {};
    }

    Result<> operator()(const model::PidFile& pidfd) const {
        has_extra =
            pidfd_to_wire(file, pidfd, begin(FileType::PidFd, entry.mutable_pidfd()), extra);
        return {};
    }

    Result<> operator()(const model::InetSocket& socket) const {
        wire::InetSk& record = begin(FileType::InetSocket, entry.mutable_isk());
        has_extra = TRY(inet_to_wire(socket, record, *extra.mutable_socket()));
        return {};
    }

    Result<> operator()(const model::UnixSocket& socket) const {
        wire::UnixSk& record = begin(FileType::UnixSocket, entry.mutable_usk());
        has_extra = unix_to_wire(socket, record, *extra.mutable_socket());
        return {};
    }

    Result<> operator()(const model::NetlinkSocket& socket) const {
        wire::NetlinkSk& record = begin(FileType::NetlinkSocket, entry.mutable_nlsk());
        netlink_to_wire(socket, record, *extra.mutable_socket());
        has_extra = true;
        return {};
    }

    Result<> operator()(const model::PacketSocket& socket) const {
        wire::PacketSk& record = begin(FileType::PacketSocket, entry.mutable_psk());
        packet_to_wire(socket, record, *extra.mutable_socket());
        has_extra = true;
        return {};
    }
};

Result<model::FileBody> regular_from_wire(const wire::RegFile& from) {
    if (from.ext()) return fail(Error::unsupported("an external file"));
    model::RegularFile file;
    const bool sane = !from.name().empty() && from.name().front() == '/' &&
                      from.name().size() < kPathMax && from.name().find('\0') == std::string::npos;
    if (!sane) return fail(Error::corrupt("the path of a file is not absolute"));
    file.path = from.name();
    file.mode = from.mode();
    if (from.has_size()) file.size = from.size();
    file.position = static_cast<std::int64_t>(from.pos());
    if (file.position < 0) return fail(Error::corrupt("a negative file position"));
    const std::size_t bytes =
        static_cast<std::size_t>(from.build_id_size()) * sizeof(std::uint32_t);
    if (bytes > kBuildIdMax) return fail(Error::corrupt("a build id that is too long"));
    file.build_id.resize(bytes);
    if (bytes != 0) std::memcpy(file.build_id.data(), from.build_id().data(), bytes);
    return model::FileBody(std::move(file));
}

model::MessageQueueFile queue_file(std::uint64_t queue, const model::RegularFile& file) {
    return {.queue = queue, .name = file.path, .position = file.position};
}

Result<model::FileBody> timer_from_wire(const wire::TimerFdFile& from) {
    model::TimerFd timer = {.clock = static_cast<int>(from.clockid()),
                            .ticks = from.ticks(),
                            .settime_flags = from.settime_flags(),
                            .value_ns = 0,
                            .interval_ns = 0};
    timer.value_ns = TRY(join_time(from.vsec(), from.vnsec(), kNanosPerSecond));
    timer.interval_ns = TRY(join_time(from.isec(), from.insec(), kNanosPerSecond));
    return timer;
}

Result<model::InotifyWatch> watch_from_wire(const wire::InotifyWatch& from) {
    const wire::FileHandle& handle = from.f_handle();
    std::array<std::uint64_t, kHandleWords> words = {};
    const auto count = static_cast<std::size_t>(handle.handle_size());
    const bool sane = handle.bytes() <= std::min(count, kHandleWords) * sizeof(words[0]) &&
                      from.wd() <= INT32_MAX && handle.path().size() < kPathMax &&
                      (handle.path().empty() || handle.path().front() == '/') &&
                      handle.path().find('\0') == std::string::npos;
    if (!sane) return fail(Error::corrupt("an inotify watch"));
    std::copy_n(handle.handle().begin(), std::min(count, kHandleWords), words.begin());
    const auto bytes = std::as_bytes(std::span(words)).first(handle.bytes());
    return model::InotifyWatch{.number = static_cast<int>(from.wd()),
                               .mask = from.mask(),
                               .path = handle.path(),
                               .inode = from.i_ino(),
                               .device = from.s_dev(),
                               .handle_type = static_cast<int>(handle.type()),
                               .handle = {bytes.begin(), bytes.end()}};
}

Result<model::FileBody> inotify_from_wire(const wire::InotifyFile& from) {
    if (from.wd_size() > kWatchesMax) return fail(Error::limit("too many inotify watches"));
    model::Inotify inotify;
    for (const wire::InotifyWatch& watch : from.wd()) {
        inotify.watches.push_back(TRY(watch_from_wire(watch)));
    }
    std::ranges::sort(inotify.watches, {}, &model::InotifyWatch::number);
    return model::FileBody(std::move(inotify));
}

Result<model::FileBody> epoll_from_wire(const wire::EventPollFile& from) {
    if (from.tfd_size() > kEpollTargetsMax) return fail(Error::limit("too many epoll targets"));
    model::EventPoll poll;
    for (const wire::EventPollTarget& w : from.tfd()) {
        if (w.tfd() >= limits::kFilesMax) return fail(Error::corrupt("an epoll target"));
        poll.targets.push_back({.fd = static_cast<int>(w.tfd()),
                                .events = w.events(),
                                .data = w.data(),
                                .inode = w.inode(),
                                .device = w.dev(),
                                .position = w.pos()});
    }
    return model::FileBody(std::move(poll));
}

// Takes what all records have in common.
template <class Record>
Result<> common_from_wire(const wire::FileEntry& entry, bool present, const Record& record,
                          model::OpenFile& into) {
    if (!present || record.id() != entry.id()) {
        return fail(Error::corrupt("a file without the record of its type"));
    }
    into.flags = record.flags();
    into.owner = TRY(owner_from_wire(record.fown()));
    return {};
}

Result<model::FileBody> memfd_from_wire(const wire::MemfdFile& from, const MemfdInodes& memfds) {
    model::MemoryFile file = TRY(memfds.file_of(from.inode_id()));
    file.position = static_cast<std::int64_t>(from.pos());
    if (file.position < 0) return fail(Error::corrupt("a negative file position"));
    return model::FileBody(std::move(file));
}

Result<> stream_from_wire(const wire::FileEntry& entry, const wire::FerryFile& extra,
                          model::OpenFile& into) {
    const wire::FerryStream& stream = extra.stream();
    if (!extra.has_stream()) return fail(Error::unsupported("an external file"));
    if (!entry.has_ext() || entry.ext().id() != entry.id() || stream.number() > 2 ||
        stream.position() < 0) {
        return fail(Error::corrupt("a given stream that makes no sense"));
    }
    into.flags = stream.flags();
    into.owner = TRY(owner_from_wire(entry.ext().fown()));
    model::GivenStream given = {
        .number = static_cast<int>(stream.number()), .position = {}, .size = stream.size()};
    if (stream.has_position()) given.position = stream.position();
    into.body = given;
    return {};
}

Result<> socket_from_wire(const wire::FileEntry& entry, const wire::FerryFile& extra,
                          model::OpenFile& into) {
    switch (static_cast<FileType>(entry.type())) {
        case FileType::InetSocket:
            TRY(common_from_wire(entry, entry.has_isk(), entry.isk(), into));
            into.body = TRY(inet_from_wire(entry.isk(), extra.socket()));
            return {};
        case FileType::UnixSocket:
            TRY(common_from_wire(entry, entry.has_usk(), entry.usk(), into));
            into.body = TRY(unix_from_wire(entry.usk(), extra.socket()));
            return {};
        case FileType::NetlinkSocket:
            TRY(common_from_wire(entry, entry.has_nlsk(), entry.nlsk(), into));
            into.body = TRY(netlink_from_wire(entry.nlsk(), extra.socket()));
            return {};
        case FileType::PacketSocket:
            TRY(common_from_wire(entry, entry.has_psk(), entry.psk(), into));
            into.body = TRY(packet_from_wire(entry.psk(), extra.socket()));
            return {};
        default:
            return fail(Error::corrupt(fmt::format("no socket: file {}", entry.id())));
    }
}

Result<> body_from_wire(const wire::FileEntry& entry, const wire::FerryFile& extra,
                        const MemfdInodes& memfds, const TerminalRecords& terminals,
                        model::OpenFile& into) {
    switch (static_cast<FileType>(entry.type())) {
        case FileType::Regular:
            TRY(common_from_wire(entry, entry.has_reg(), entry.reg(), into));
            into.body = TRY(regular_from_wire(entry.reg()));
            if (extra.message_queue() != 0) {
                into.body =
                    queue_file(extra.message_queue(), std::get<model::RegularFile>(into.body));
            }
            return {};
        case FileType::Pipe:
            TRY(common_from_wire(entry, entry.has_pipe(), entry.pipe(), into));
            into.body = model::PipeEnd{.pipe_id = entry.pipe().pipe_id(), .path = {}, .mode = 0};
            return {};
        case FileType::Fifo:
            // The rest is in the record of its regular file: join_twins.
            if (!entry.has_fifo() || entry.fifo().id() != entry.id()) {
                return fail(Error::corrupt("a FIFO without its record"));
            }
            into.body = model::PipeEnd{
                .pipe_id = entry.fifo().pipe_id(), .path = {}, .mode = 0, .ghost = 0};
            return {};
        case FileType::Terminal:
            TRY(common_from_wire(entry, entry.has_tty(), entry.tty(), into));
            if (const auto end = terminals.find(entry.tty().tty_info_id())) {
                into.body = *end;
            } else {
                into.body = model::RegularFile{};
            }
            return {};  // join_twins does the rest
        case FileType::EventFd:
            TRY(common_from_wire(entry, entry.has_efd(), entry.efd(), into));
            into.body = model::EventFd{.counter = entry.efd().counter(),
                                       .semaphore = extra.eventfd_semaphore()};
            return {};
        case FileType::EventPoll:
            TRY(common_from_wire(entry, entry.has_epfd(), entry.epfd(), into));
            into.body = TRY(epoll_from_wire(entry.epfd()));
            return {};
        case FileType::Inotify:
            TRY(common_from_wire(entry, entry.has_ify(), entry.ify(), into));
            into.body = TRY(inotify_from_wire(entry.ify()));
            return {};
        case FileType::SignalFd:
            TRY(common_from_wire(entry, entry.has_sgfd(), entry.sgfd(), into));
            into.body = model::SignalFd{.mask = entry.sgfd().mask()};
            return {};
        case FileType::TimerFd:
            TRY(common_from_wire(entry, entry.has_tfd(), entry.tfd(), into));
            into.body = TRY(timer_from_wire(entry.tfd()));
            return {};
        case FileType::MemFd:
            TRY(common_from_wire(entry, entry.has_memfd(), entry.memfd(), into));
            into.body = TRY(memfd_from_wire(entry.memfd(), memfds));
            return {};
        case FileType::PidFd:
            TRY(common_from_wire(entry, entry.has_pidfd(), entry.pidfd(), into));
            into.flags = pidfd_file_flags(into.flags);
            into.body = TRY(pidfd_from_wire(entry.pidfd(), extra));
            return {};
        case FileType::External:
            return stream_from_wire(entry, extra, into);
        case FileType::InetSocket:
        case FileType::UnixSocket:
        case FileType::NetlinkSocket:
        case FileType::PacketSocket:
            return socket_from_wire(entry, extra, into);
    }
    if (const char* name = refused_type(entry.type())) return fail(Error::unsupported(name));
    return fail(Error::corrupt(fmt::format("a file of type {}", entry.type())));
}

// A FIFO or terminal is two records: its own, `entry`, and that of a regular file, which nothing
// else refers to.
Result<> put_with_twin(const model::OpenFile& file, const wire::FileEntry& entry,
                       const std::string& path, std::uint32_t mode, model::FileId regular_id,
                       RecordWriter& writer) {
    model::RegularFile regular;
    regular.path = path;
    regular.mode = mode;
    const model::OpenFile twin = {
        .id = regular_id, .flags = file.flags, .owner = file.owner, .body = regular};
    wire::FileEntry twin_entry;
    twin_entry.set_id(regular_id);
    wire::FerryFile unused;
    bool has_unused = false;
    MemfdInodes none;
    const FileToWire to_wire{twin, twin_entry, unused, has_unused, none};
    TRY(to_wire(regular));
    TRY(writer.add(twin_entry));
    return writer.add(entry);
}

Result<> put_fifo(const model::OpenFile& file, const model::PipeEnd& end, model::FileId regular_id,
                  RecordWriter& writer) {
    wire::FileEntry entry;
    entry.set_id(file.id);
    entry.set_type(static_cast<std::uint32_t>(FileType::Fifo));
    entry.mutable_fifo()->set_id(file.id);
    entry.mutable_fifo()->set_pipe_id(end.pipe_id);
    entry.mutable_fifo()->set_regf_id(regular_id);
    return put_with_twin(file, entry, end.path, end.mode, regular_id, writer);
}

// Takes path and mode from `regular` into a file whose own record does not have them.
void join_twin(const model::OpenFile& twin, const model::RegularFile& regular,
               TerminalRecords& terminals, model::OpenFile& into) {
    if (auto* end = std::get_if<model::PipeEnd>(&into.body)) {
        into.flags = twin.flags;
        into.owner = twin.owner;
        end->path = regular.path;
        end->mode = regular.mode;
        end->ghost = regular.ghost;
    } else if (auto* terminal = std::get_if<model::TerminalFile>(&into.body)) {
        terminal->path = regular.path;
        if (!terminal->is_master) terminals.note_slave(terminal->index, regular.mode);
    } else {
        into.body = regular;
    }
}

// Undoes put_with_twin, also for terminals of others: twins maps ids of such files to those of
// the regular files that belong to them, which are taken away.
Result<> join_twins(const std::map<model::FileId, model::FileId>& twins, TerminalRecords& terminals,
                    std::vector<model::OpenFile>& files) {
    if (twins.empty()) return {};
    std::map<model::FileId, const model::OpenFile*> by_id;
    for (const model::OpenFile& file : files) by_id.emplace(file.id, &file);
    std::set<model::FileId> taken;
    for (model::OpenFile& file : files) {
        const auto twin_id = twins.find(file.id);
        if (twin_id == twins.end()) continue;
        const auto twin = by_id.find(twin_id->second);
        const bool own = twin != by_id.end() && !twins.contains(twin_id->second);
        const auto* regular = own ? std::get_if<model::RegularFile>(&twin->second->body) : nullptr;
        if (regular == nullptr || !taken.insert(twin_id->second).second) {
            return fail(Error::corrupt(fmt::format("file {} has no path", file.id)));
        }
        join_twin(*twin->second, *regular, terminals, file);
    }
    std::erase_if(files, [&](const model::OpenFile& file) { return taken.contains(file.id); });
    return {};
}

// The content of pipes, or of FIFOs, which are told apart by who refers to them.
Result<> put_pipes(const model::Checkpoint& checkpoint, const std::set<std::uint32_t>& fifos,
                   ImageStore& into) {
    RecordWriter pipes(Magic::PipesData), fifo_data(Magic::FifoData);
    for (const model::Pipe& pipe : checkpoint.pipes) {
        RecordWriter& writer = fifos.contains(pipe.id) ? fifo_data : pipes;
        wire::PipeData data;
        data.set_pipe_id(pipe.id);
        data.set_bytes(static_cast<std::uint32_t>(pipe.content.size()));
        data.set_size(pipe.bytes);
        TRY(writer.add(data));
        writer.add_raw(pipe.content);
    }
    TRY(into.put(kPipesDataName, pipes.bytes()));
    if (fifos.empty()) return {};
    return into.put(kFifoDataName, fifo_data.bytes());
}

Result<> get_pipes(const ImageStore& from, const char* name, Magic magic, model::Checkpoint& into) {
    const std::optional<model::Bytes> bytes = TRY(from.get(name));
    if (!bytes) return {};
    RecordReader reader = TRY(RecordReader::open(name, *bytes, magic));
    while (!reader.at_end()) {
        wire::PipeData data;
        TRY(reader.next(data));
        if (data.bytes() > limits::kQueueBytesMax || data.size() > limits::kQueueBytesMax) {
            return fail(Error::limit("a pipe that holds more than 64 MiB"));
        }
        const std::span<const std::byte> content = TRY(reader.raw(data.bytes()));
        into.pipes.push_back({.id = data.pipe_id(),
                              .bytes = data.size(),
                              .content = {content.begin(), content.end()}});
    }
    return {};
}

// CRIU writes no record for a pipe of which the tree has write ends only.
void add_missing_pipes(model::Checkpoint& into) {
    std::set<std::uint32_t> known;
    for (const model::Pipe& pipe : into.pipes) known.insert(pipe.id);
    for (const model::OpenFile& file : into.files) {
        const auto* end = std::get_if<model::PipeEnd>(&file.body);
        if (end == nullptr || !known.insert(end->pipe_id).second) continue;
        into.pipes.push_back({.id = end->pipe_id, .bytes = 0, .content = {}});
    }
}

Result<> put_queues(const model::Checkpoint& checkpoint, ImageStore& into) {
    RecordWriter writer(Magic::SkQueues);
    bool any = false;
    for (const model::OpenFile& file : checkpoint.files) {
        const auto* socket = std::get_if<model::UnixSocket>(&file.body);
        if (socket == nullptr) continue;
        for (const model::UnixMessage& message : socket->receive_queue) {
            wire::SkPacket record;
            record.set_id_for(file.id);
            record.set_length(static_cast<std::uint32_t>(message.content.size()));
            if (!message.rights.empty()) {
                wire::Scm& scm = *record.add_scm();
                scm.set_type(SCM_RIGHTS);
                for (const model::FileId id : message.rights) scm.add_rights(id);
            }
            TRY(writer.add(record));
            writer.add_raw(message.content);
            any = true;
        }
    }
    if (!any) return {};
    return into.put(kSocketQueuesName, writer.bytes());
}

Result<> get_queues(const ImageStore& from, model::Checkpoint& into) {
    const std::optional<model::Bytes> bytes = TRY(from.get(kSocketQueuesName));
    if (!bytes) return {};
    RecordReader reader = TRY(RecordReader::open(kSocketQueuesName, *bytes, Magic::SkQueues));
    while (!reader.at_end()) {
        wire::SkPacket record;
        TRY(reader.next(record));
        if (record.length() > limits::kQueueBytesMax) {
            return fail(Error::limit("a datagram of more than 64 MiB"));
        }
        const std::span<const std::byte> content = TRY(reader.raw(record.length()));
        model::UnixMessage message = {.content = {content.begin(), content.end()}, .rights = {}};
        if (record.scm_size() > 1 ||
            (record.scm_size() == 1 && record.scm(0).type() != SCM_RIGHTS)) {
            return fail(Error::unsupported("a Unix socket with what travels with a message"));
        }
        for (const wire::Scm& scm : record.scm()) {
            message.rights.assign(scm.rights().begin(), scm.rights().end());
        }
        const auto file =
            std::lower_bound(into.files.begin(), into.files.end(), record.id_for(),
                             [](const model::OpenFile& f, model::FileId id) { return f.id < id; });
        const bool found = file != into.files.end() && file->id == record.id_for();
        auto* socket = found ? std::get_if<model::UnixSocket>(&file->body) : nullptr;
        if (socket == nullptr) {
            return fail(Error::corrupt("a datagram of a socket that is not in the image"));
        }
        socket->receive_queue.push_back(std::move(message));
    }
    return {};
}

// CRIU sets what is said here.
std::uint32_t device_mode(const model::TerminalFile& end, const model::Checkpoint& checkpoint) {
    constexpr std::uint32_t kMasterMode = 0666;  // of /dev/ptmx, wherever
    const auto pair = std::ranges::find(checkpoint.terminals, end.index, &model::Terminal::index);
    const bool is_slave = !end.is_master && pair != checkpoint.terminals.end();
    return S_IFCHR | (is_slave ? pair->mode : kMasterMode);
}

}  // namespace

FileType type_of(const model::OpenFile& file) {
    struct Type {
        FileType operator()(const model::RegularFile&) const { return FileType::Regular; }
        FileType operator()(const model::PipeEnd& end) const {
            return end.path.empty() ? FileType::Pipe : FileType::Fifo;
        }
        FileType operator()(const model::EventFd&) const { return FileType::EventFd; }
        FileType operator()(const model::EventPoll&) const { return FileType::EventPoll; }
        FileType operator()(const model::SignalFd&) const { return FileType::SignalFd; }
        FileType operator()(const model::TimerFd&) const { return FileType::TimerFd; }
        FileType operator()(const model::Inotify&) const { return FileType::Inotify; }
        FileType operator()(const model::InetSocket&) const { return FileType::InetSocket; }
        FileType operator()(const model::MemoryFile&) const { return FileType::MemFd; }
        FileType operator()(const model::UnixSocket&) const { return FileType::UnixSocket; }
        FileType operator()(const model::NetlinkSocket&) const { return FileType::NetlinkSocket; }
        FileType operator()(const model::PacketSocket&) const { return FileType::PacketSocket; }
        FileType operator()(const model::GivenStream&) const { return FileType::External; }
        FileType operator()(const model::MessageQueueFile&) const { return FileType::Regular; }
        FileType operator()(const model::TerminalFile&) const { return FileType::Terminal; }
        FileType operator()(const model::PidFile&) const { return FileType::PidFd; }
    };
    return std::visit(Type{}, file.body);
}

Result<> put_files(const model::Checkpoint& checkpoint, ImageStore& into,
                   wire::FerryCheckpoint& extra) {
    RecordWriter writer(Magic::Files);
    MemfdInodes memfds;
    model::FileId unused_id = checkpoint.files.empty() ? 0 : checkpoint.files.back().id;
    std::set<std::uint32_t> fifos;
    std::map<model::FileId, model::FileId> fifo_twins;
    for (const model::OpenFile& file : checkpoint.files) {
        const auto* end = std::get_if<model::PipeEnd>(&file.body);
        if (end != nullptr && !end->path.empty()) {
            fifos.insert(end->pipe_id);
            fifo_twins[file.id] = ++unused_id;
            TRY(put_fifo(file, *end, unused_id, writer));
            continue;
        }
        const std::string what = fmt::format("file {}", file.id);
        wire::FileEntry entry;
        entry.set_id(file.id);
        wire::FerryFile more;
        more.set_id(file.id);
        bool has_more = false;
        TRY(with_context(std::visit(FileToWire{file, entry, more, has_more, memfds}, file.body),
                         what));
        if (has_more) *extra.add_files() = more;
        if (const auto* terminal = std::get_if<model::TerminalFile>(&file.body)) {
            entry.mutable_tty()->set_regf_id(++unused_id);
            TRY(put_with_twin(file, entry, terminal->path, device_mode(*terminal, checkpoint),
                              unused_id, writer));
            continue;
        }
        TRY(with_context(writer.add(entry), what));
        const auto* socket = std::get_if<model::InetSocket>(&file.body);
        if (socket != nullptr && socket->tcp) {
            TRY(put_connection(socket->inode, *socket->tcp, into));
        }
    }
    TRY(into.put(kFilesName, writer.bytes()));
    TRY(memfds.put(into));
    TRY(put_pipes(checkpoint, fifos, into));
    TRY(put_ghosts(checkpoint, fifo_twins, into));
    return put_queues(checkpoint, into);
}

Result<> get_files(const ImageStore& from, const FerryFiles& extra, TerminalRecords& terminals,
                   model::Checkpoint& into) {
    const std::optional<model::Bytes> bytes = TRY(from.get(kFilesName));
    if (!bytes) return fail(Error::corrupt(std::string("there is no ") + kFilesName));
    RecordReader reader = TRY(RecordReader::open(kFilesName, *bytes, Magic::Files));
    const wire::FerryFile nothing;
    const MemfdInodes memfds = TRY(MemfdInodes::get(from));
    std::map<model::FileId, model::FileId> twins;
    while (!reader.at_end()) {
        wire::FileEntry entry;
        TRY(reader.next(entry));
        if (into.files.size() == limits::kFilesMax) return fail(Error::limit("too many files"));
        model::OpenFile file;
        file.id = entry.id();
        const auto more = extra.find(file.id);
        const wire::FerryFile& rest = more == extra.end() ? nothing : more->second;
        TRY(with_context(body_from_wire(entry, rest, memfds, terminals, file),
                         fmt::format("file {}", file.id)));
        if (entry.has_fifo()) twins[file.id] = entry.fifo().regf_id();
        if (entry.has_tty()) twins[file.id] = entry.tty().regf_id();
        if (auto* socket = std::get_if<model::InetSocket>(&file.body)) {
            if (socket->protocol == IPPROTO_TCP) {
                socket->tcp = TRY(get_connection(socket->inode, from));
                if (socket->tcp) socket->tcp->sent_lately = rest.socket().sent_lately();
            }
        }
        into.files.push_back(std::move(file));
    }
    std::sort(into.files.begin(), into.files.end(),
              [](const model::OpenFile& a, const model::OpenFile& b) { return a.id < b.id; });
    TRY(get_ghosts(from, into));
    TRY(join_twins(twins, terminals, into.files));
    TRY(get_pipes(from, kPipesDataName, Magic::PipesData, into));
    TRY(get_pipes(from, kFifoDataName, Magic::FifoData, into));
    add_missing_pipes(into);
    return get_queues(from, into);
}

Result<> put_descriptors(const model::Process& process,
                         const std::map<model::FileId, FileType>& types, std::uint32_t number,
                         ImageStore& into) {
    RecordWriter writer(Magic::Fdinfo);
    for (const model::Descriptor& descriptor : process.descriptors) {
        const auto type = types.find(descriptor.file);
        if (type == types.end()) {
            return fail(Error::invalid(fmt::format("descriptor {} of no file", descriptor.fd)));
        }
        wire::Fdinfo entry;
        entry.set_id(descriptor.file);
        entry.set_flags(descriptor.close_on_exec ? kCloseOnExec : 0);
        entry.set_type(static_cast<std::uint32_t>(type->second));
        entry.set_fd(static_cast<std::uint32_t>(descriptor.fd));
        TRY(writer.add(entry));
    }
    return into.put(descriptors_name(number), writer.bytes());
}

Result<std::vector<model::Descriptor>> get_descriptors(const ImageStore& from,
                                                       std::uint32_t number) {
    const std::string name = descriptors_name(number);
    const std::optional<model::Bytes> bytes = TRY(from.get(name));
    if (!bytes) return fail(Error::corrupt("there is no " + name));
    RecordReader reader = TRY(RecordReader::open(name, *bytes, Magic::Fdinfo));
    std::vector<model::Descriptor> descriptors;
    while (!reader.at_end()) {
        wire::Fdinfo entry;
        TRY(reader.next(entry));
        if (entry.fd() >= limits::kFilesMax) {
            return fail(Error::limit(fmt::format("{}: descriptor {}", name, entry.fd())));
        }
        if (const char* refused = refused_type(entry.type())) {
            return fail(Error::unsupported(fmt::format("descriptor {}: {}", entry.fd(), refused)));
        }
        descriptors.push_back({.fd = static_cast<int>(entry.fd()),
                               .file = entry.id(),
                               .close_on_exec = (entry.flags() & kCloseOnExec) != 0});
    }
    std::sort(descriptors.begin(), descriptors.end(),
              [](const auto& a, const auto& b) { return a.fd < b.fd; });
    return descriptors;
}

}  // namespace ferry::image
