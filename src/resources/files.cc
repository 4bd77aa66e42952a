#include "resources/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <deque>
#include <ranges>
#include <set>
#include <thread>
#include <tuple>

#include "base/check.h"
#include "base/log.h"
#include "os/description.h"
#include "os/process.h"
#include "os/scope.h"
#include "proc/process_directory.h"
#include "resources/descriptor_room.h"
#include "resources/event_files.h"
#include "resources/file_lock.h"
#include "resources/inet_socket.h"
#include "resources/inotify.h"
#include "resources/memfd.h"
#include "resources/netlink_socket.h"
#include "resources/network_device.h"
#include "resources/packet_socket.h"
#include "resources/path_table.h"
#include "resources/pidfd.h"
#include "resources/pipe.h"
#include "resources/pipe_ends.h"
#include "resources/regular_file.h"
#include "resources/signalfd.h"
#include "resources/table_scan.h"
#include "resources/terminal.h"
#include "resources/timerfd.h"
#include "resources/unix_socket.h"

namespace ferry::resources {
namespace {

bool has_vanished(const Error& error) {
    return error.kind() == Error::Kind::Gone || error.code() == ENOENT || error.code() == ESRCH ||
           error.code() == EBADF;
}

std::string link_of(const Holder& holder) {
    return fmt::format("/proc/{}/fd/{}", holder.pid, holder.fd);
}

Result<model::FileOwner> read_owner(int copy, std::uint32_t flags) {
    model::FileOwner owner;
    if ((flags & O_PATH) != 0) return owner;
    const os::FileOwnerState state = TRY(os::owner_of(copy));
    if (state.pid == 0) return owner;
    owner.pid_type = state.type;
    owner.pid = state.pid;
    owner.signal = TRY(os::fcntl(copy, F_GETSIG));
    std::tie(owner.uid, owner.euid) = TRY(os::owner_users(copy));
    return owner;
}

}  // namespace

struct FileCollector::Impl {
    struct Connection {
        os::UniqueFd fd;
        bool reuse_address = false;
    };
    // What prepare() has seen so far.
    struct Preparation {
        std::span<const Pid> pids;
        std::size_t descriptors = 0;
        PipeTable pipes;
        std::set<std::uint64_t> sockets;  // inodes
        std::deque<model::UnixSocket> unix_sockets;
        std::vector<HeldUnixSocket> held;
        std::vector<std::uint32_t> pending;  // unix connections that were not accepted yet
        bool in_flight = false;              // a peer or an end of a pipe may be
        std::vector<Slot> terminals;
        std::set<std::string> devices;
    };
    // A descriptor in flight, as a duplicate in our own table, where what it leads to is read.
    struct InFlight {
        os::UniqueFd fd;
        std::size_t socket = 0;  // the group that it is in flight to
        std::size_t message = 0;
    };
    // A collection in progress: the frozen tables and what has been read of them.
    struct Pass {
        std::span<const Pid> pids;
        std::vector<Slot> slots;
        SharingGroups groups;
        CollectedFiles result;
        std::vector<os::UniqueFd> copies;      // by group; kept where a later step needs it
        std::vector<std::size_t> connections;  // groups that are TCP connections
        PortsByFamily listening;
        PipeTable pipes;
        std::map<std::uint32_t, std::size_t> pipe_group;  // a group that can read the pipe
        std::vector<HeldUnixSocket> unix_sockets;
        std::optional<TerminalTable> terminals;
        std::map<std::uint32_t, std::string> ghosts;  // a procfs link to each
        std::vector<InFlight> in_flight;              // still to be read
    };

    FileOptions options;
    RepairRegistry* registry = nullptr;
    GivenStreams given;
    std::string root;      // before paths of the tree: "" or "/proc/PID/root"
    os::UniqueFd network;  // the tree's network namespace; empty: ours
    TableScanner scanner;
    std::optional<UnixReader> unix_reader;
    std::map<std::uint64_t, SocketKind> socket_kinds;  // by inode; a socket's kind never changes
    PlainOptionReader plain_options;
    MemberReader multicast_groups;
    PathTable paths{PathRules{}, next_id};
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint32_t> fifo_ids;
    std::vector<Connection> connections;
    std::vector<os::UniqueFd> arrived;  // what was read of descriptors in flight, by our own
    std::set<int> listening_families;   // as prepare() found them
    HandshakeSearch handshakes;
    std::vector<model::Terminal> terminals;  // as prepare() found them
    std::set<std::string> devices;           // the same
    model::FileId next_id = 1;

    Result<os::NetworkScope> enter_network();
    Result<> prepare_all(Preparation& seen);
    Result<> prepare_slot(const Slot& slot, Preparation& seen);
    Result<> prepare_socket(const Slot& slot, Preparation& seen);
    Result<> prepare_pipes(const PipeTable& pipes);
    Result<> prepare_terminals(const std::vector<Slot>& slots);
    Result<SocketKind> kind_of(int copy, const Slot& slot);
    Result<UnixReading> read_unix(int copy, const Slot& slot, const SocketKind& kind,
                                  bool with_queue);

    struct LinkReading {
        model::FileBody body;
        std::string busy;
    };
    Result<LinkReading> read_link_socket(int copy, const Slot& slot, const SocketKind& kind);

    Result<> scan(Pass& pass);
    Result<> read_group(std::size_t group, Pass& pass);
    Result<> read_in_flight(Pass& pass);
    Result<std::size_t> read_arrived(const std::vector<std::size_t>& sharers, std::size_t first,
                                     Pass& pass);
    Result<model::FileBody> read_body(const Slot& slot, std::size_t group, Pass& pass);
    Result<model::FileBody> read_path(const Slot& slot, std::size_t group, Pass& pass);
    static std::vector<Pid> holders_of(const Pass& pass, const std::vector<std::uint32_t>& inodes);
    Result<model::FileBody> read_socket(const Slot& slot, std::size_t group, Pass& pass);
    Result<> check_epoll(std::size_t group, const Pass& pass) const;
    Result<> read_relations(Pass& pass);
    Result<> read_pipes(Pass& pass);
    Result<> read_connections(Pass& pass);
    [[nodiscard]] PathRules rules() const {
        return {.shell_job = options.shell_job,
                .ghost_bytes_max = options.ghost_bytes_max,
                .root = root,
                .message_queues = options.message_queues};
    }
    Result<> read_ghosts(Pass& pass);
    void roll_back();
    void forget_connections();
};

FileCollector::FileCollector(FileOptions options, RepairRegistry* registry)
    : impl_(std::make_unique<Impl>()) {
    impl_->options = options;
    impl_->registry = registry;
    if (options.container.value != 0) {
        impl_->root = fmt::format("/proc/{}/root", options.container);
        impl_->given = GivenStreams(options.given, options.container);
    }
    impl_->paths = PathTable({.ghost_bytes_max = options.ghost_bytes_max, .root = impl_->root},
                             impl_->next_id);
}
FileCollector::FileCollector(FileCollector&&) noexcept = default;
FileCollector& FileCollector::operator=(FileCollector&&) noexcept = default;
FileCollector::~FileCollector() {
    if (impl_) impl_->roll_back();
}

// ---- before the freeze

Result<SocketKind> FileCollector::Impl::kind_of(int copy, const Slot& slot) {
    const auto known = socket_kinds.find(slot.info.inode);
    if (known != socket_kinds.end()) return known->second;
    return socket_kinds.emplace(slot.info.inode, TRY(socket_kind(copy))).first->second;
}

Result<UnixReading> FileCollector::Impl::read_unix(int copy, const Slot& slot,
                                                   const SocketKind& kind, bool with_queue) {
    if (!unix_reader) unix_reader = TRY(UnixReader::open(root));
    return unix_reader->read(copy, slot.holder, kind, static_cast<std::uint32_t>(slot.info.inode),
                             with_queue, plain_options);
}

// Neither of the internet nor of Unix.
Result<FileCollector::Impl::LinkReading> FileCollector::Impl::read_link_socket(
    int copy, const Slot& slot, const SocketKind& kind) {
    if (kind.family == AF_NETLINK) {
        NetlinkReading reading = TRY(read_netlink_socket(copy, slot.holder, kind, plain_options));
        return LinkReading{.body = std::move(reading.socket), .busy = std::move(reading.busy)};
    }
    if (kind.family == AF_PACKET) {
        return LinkReading{.body = TRY(read_packet_socket(copy, slot.holder, kind, plain_options)),
                           .busy = {}};
    }
    return refuse(slot.holder, fmt::format("a socket of family {}, which is not carried: close it",
                                           kind.family));
}

Result<> FileCollector::Impl::prepare_socket(const Slot& slot, Preparation& seen) {
    if (!seen.sockets.insert(slot.info.inode).second) return {};
    const os::UniqueFd copy = TRY(scanner.duplicate(slot.holder));
    const SocketKind kind = TRY(kind_of(copy.get(), slot));
    if (kind.family == AF_INET || kind.family == AF_INET6) {
        const InetReading reading =
            TRY(read_inet_socket(copy.get(), slot.holder, kind,
                                 {.tcp_established = options.tcp_established, .thorough = true},
                                 plain_options, multicast_groups));
        if (reading.socket.state == TCP_LISTEN) listening_families.insert(kind.family);
        add_devices(reading.socket, seen.devices);
        return {};
    }
    if (kind.family != AF_UNIX) {
        TRY(read_link_socket(copy.get(), slot, kind));
        return {};
    }
    UnixReading reading = TRY(read_unix(copy.get(), slot, kind, false));
    std::ranges::move(reading.pending, std::back_inserter(seen.pending));
    seen.in_flight |= reading.has_unread;
    seen.unix_sockets.push_back(std::move(reading.socket));
    seen.held.push_back({slot.holder, &seen.unix_sockets.back()});
    return {};
}

Result<> FileCollector::Impl::prepare_slot(const Slot& slot, Preparation& seen) {
    TRY(check_locks(slot, options.file_locks));
    if (TRY(given.find(slot))) return {};
    switch (slot.kind) {
        case FileKind::Path:
            if (is_terminal_link(slot.link)) {
                seen.terminals.push_back(slot);
                return {};
            }
            paths.open_ahead(TRY(inspect_path(link_of(slot.holder), slot.holder.text(), rules())),
                             slot.info.flags);
            return {};
        case FileKind::Pipe:
            seen.pipes[static_cast<std::uint32_t>(slot.info.inode)].add(slot);
            return {};
        case FileKind::EventFd:
        case FileKind::EventPoll:
        case FileKind::SignalFd:
            return {};
        case FileKind::TimerFd:
            return check_timerfd(slot);
        case FileKind::MemFd:
            TRY(paths.memfds().note(link_of(slot.holder), slot.holder.text()));
            return {};
        case FileKind::Inotify:
            TRY(read_inotify(slot, root));
            return {};
        case FileKind::PidFd:
            return check_pidfd(slot, seen.pids);
        case FileKind::Socket:
            return prepare_socket(slot, seen);
        case FileKind::Other:
            break;
    }
    return refuse(slot.holder, fmt::format("{}, which is not carried: close it", slot.link));
}

Result<os::NetworkScope> FileCollector::Impl::enter_network() {
    if (options.container.value != 0 && !network) {
        network = TRY(os::open(fmt::format("/proc/{}/ns/net", options.container), O_RDONLY));
    }
    return os::NetworkScope::enter(network.get());
}

Result<> FileCollector::Impl::prepare_all(Preparation& seen) {
    const os::NetworkScope there = TRY(enter_network());
    TRY(multicast_groups.look());
    for (const Pid pid : seen.pids) {
        for (const Slot& slot : TRY(scanner.scan(pid))) {
            ++seen.descriptors;
            const auto checked = prepare_slot(slot, seen);
            if (!checked && !has_vanished(checked.error())) return checked;
        }
    }
    // Each may be duplicated; tasks take some, too.
    TRY(make_room_for_descriptors(2 * seen.descriptors + 4 * seen.pids.size()));
    TRY(prepare_terminals(seen.terminals));
    return seen.in_flight ? Result<>() : prepare_pipes(seen.pipes);
}

Result<> FileCollector::Impl::prepare_terminals(const std::vector<Slot>& slots) {
    const TerminalTable table =
        TRY(TerminalTable::of(slots, scanner, root, options.given_terminal));
    std::string unread;  // only matters in the freeze
    terminals = TRY(table.read(unread));
    for (const Slot& slot : slots) {
        if (table.find(slot.holder)) continue;
        const auto checked = inspect_path(link_of(slot.holder), slot.holder.text(), rules());
        if (!checked && !has_vanished(checked.error())) return fail(checked.error());
    }
    return {};
}

Result<> FileCollector::Impl::prepare_pipes(const PipeTable& pipes) {
    for (const auto& [id, ends] : pipes) {
        const auto copy = scanner.duplicate(ends.any);
        if (!copy) continue;  // closed meanwhile
        TRY(check_pipe_ends(ends, copy->get()));
    }
    return {};
}

Result<> FileCollector::prepare(std::span<const Pid> pids) {
    TRY(check_tables(pids));
    // The tree runs: what is made, accepted or closed during a look may seem to lead out of the
    // tree. What is really in the way is there at each look; under load, something always is.
    constexpr int kLooks = 10;
    constexpr std::chrono::milliseconds kBetweenLooks{2};
    std::optional<std::set<std::uint32_t>> suspects;  // inodes of unix sockets
    for (int look = 1;; ++look) {
        Impl::Preparation seen;
        seen.pids = pids;
        const Result<> prepared = impl_->prepare_all(seen);
        std::vector<HeldUnixSocket> strangers;
        if (prepared) {
            // What a queue holds is only looked at in the freeze, which refuses what is missing.
            if (seen.in_flight) return {};
            strangers = find_strangers(seen.held, seen.pending, impl_->options.external_unix);
            std::erase_if(strangers, [&](const HeldUnixSocket& held) {
                return suspects && !suspects->contains(held.socket->inode);
            });
            if (strangers.empty()) {
                impl_->devices = std::move(seen.devices);
                return {};
            }
            suspects.emplace();
            for (const HeldUnixSocket& held : strangers) suspects->insert(held.socket->inode);
        }
        if (look == kLooks) return prepared ? refuse_stranger(strangers.front()) : prepared;
        std::this_thread::sleep_for(kBetweenLooks);
    }
}

// ---- paths

void FileCollector::begin_paths() {
    impl_->paths.begin();
}

Result<model::FileId> FileCollector::add_path(const std::string& link, std::uint32_t flags) {
    return impl_->paths.add_path(link, flags);
}

Result<model::FileId> FileCollector::add_mapped(Pid pid, const proc::MapsEntry& line,
                                                std::uint32_t flags) {
    return impl_->paths.add_mapped(pid, line, flags);
}

Result<std::vector<model::OpenFile>> FileCollector::path_files() {
    return impl_->paths.files();
}

const std::set<std::string>& FileCollector::network_devices() const {
    return impl_->devices;
}

const std::vector<model::Terminal>& FileCollector::terminals() const {
    return impl_->terminals;
}

std::vector<model::GhostFile> FileCollector::path_ghosts() const {
    return impl_->paths.ghosts();
}

Result<> FileCollector::Impl::read_ghosts(Pass& pass) {
    for (const auto& [id, link] : pass.ghosts) {
        pass.result.ghosts.push_back(TRY(read_ghost(link, id, options.ghost_bytes_max, link)));
    }
    return {};
}

// ---- inside the freeze

Result<> FileCollector::Impl::scan(Pass& pass) {
    for (const Pid pid : pass.pids) {
        for (Slot& slot : TRY(scanner.scan(pid))) pass.slots.push_back(std::move(slot));
    }
    pass.groups = TRY(group_descriptions(pass.slots));
    pass.terminals = TRY(TerminalTable::of(pass.slots, scanner, root, options.given_terminal));
    pass.result.terminals = TRY(pass.terminals->read(pass.result.busy));
    pass.copies.resize(pass.groups.size());
    for (const Pid pid : pass.pids)
        pass.result.processes.push_back({.pid = pid, .descriptors = {}});
    return {};
}

Result<model::FileBody> FileCollector::Impl::read_path(const Slot& slot, std::size_t group,
                                                       Pass& pass) {
    const PathFile file = TRY(inspect_path(link_of(slot.holder), slot.holder.text(), rules()));
    if (file.is_message_queue) {
        pass.result.queues.push_back(
            {.inode = file.status.st_ino, .link = link_of(slot.holder), .name = file.path});
        return model::MessageQueueFile{
            .queue = file.status.st_ino, .name = file.path, .position = slot.info.position};
    }
    if (!S_ISFIFO(file.status.st_mode)) {
        model::RegularFile regular = paths.to_model(file, slot.info.position);
        if (regular.ghost != 0) pass.ghosts.try_emplace(regular.ghost, link_of(slot.holder));
        return regular;
    }
    // A FIFO's inode number is its file system's; pipes' own numbers stay below this.
    constexpr std::uint32_t kFifoIds = 0x80000000;
    const auto id = fifo_ids
                        .try_emplace({file.status.st_dev, file.status.st_ino},
                                     kFifoIds + static_cast<std::uint32_t>(fifo_ids.size()))
                        .first->second;
    for (const std::size_t index : pass.groups[group]) pass.pipes[id].add(pass.slots[index]);
    if (is_readable(slot.info.flags) || !pass.pipe_group.contains(id)) pass.pipe_group[id] = group;
    const std::uint32_t ghost = paths.ghost_of(file);
    if (ghost != 0) pass.ghosts.try_emplace(ghost, link_of(slot.holder));
    return model::PipeEnd{
        .pipe_id = id, .path = file.path, .mode = file.status.st_mode, .ghost = ghost};
}

std::vector<Pid> FileCollector::Impl::holders_of(const Pass& pass,
                                                 const std::vector<std::uint32_t>& inodes) {
    std::vector<Pid> holders;
    for (const Slot& slot : pass.slots) {
        const bool wanted = std::ranges::find(inodes, slot.info.inode) != inodes.end();
        const Pid pid = slot.holder.pid;
        if (pid.value == ::getpid()) continue;  // in flight
        if (wanted && std::ranges::find(holders, pid) == holders.end()) holders.push_back(pid);
    }
    return holders;
}

Result<model::FileBody> FileCollector::Impl::read_socket(const Slot& slot, std::size_t group,
                                                         Pass& pass) {
    const int copy = pass.copies[group].get();
    const SocketKind kind = TRY(kind_of(copy, slot));
    const auto inode = static_cast<std::uint32_t>(slot.info.inode);
    if (kind.family == AF_UNIX) {
        UnixReading reading = TRY(read_unix(copy, slot, kind, true));
        if (!reading.busy.empty()) {
            pass.result.busy = std::move(reading.busy);
            pass.result.waiting = holders_of(pass, reading.pending);
        }
        for (auto& [message, fd] : reading.in_flight) {
            pass.in_flight.push_back({.fd = std::move(fd), .socket = group, .message = message});
        }
        return std::move(reading.socket);
    }
    if (kind.family != AF_INET && kind.family != AF_INET6) {
        LinkReading reading = TRY(read_link_socket(copy, slot, kind));
        if (!reading.busy.empty()) pass.result.busy = std::move(reading.busy);
        return std::move(reading.body);
    }
    InetReading reading =
        TRY(read_inet_socket(copy, slot.holder, kind, {.tcp_established = options.tcp_established},
                             plain_options, multicast_groups));
    reading.socket.inode = inode;
    if (!reading.busy.empty()) pass.result.busy = std::move(reading.busy);
    if (reading.needs_repair) pass.connections.push_back(group);
    if (reading.socket.state == TCP_LISTEN) {
        pass.listening[kind.family].push_back(reading.socket.source_port);
    }
    return std::move(reading.socket);
}

Result<model::FileBody> FileCollector::Impl::read_body(const Slot& slot, std::size_t group,
                                                       Pass& pass) {
    if (const auto stream = TRY(given.find(slot))) return *stream;
    switch (slot.kind) {
        case FileKind::Path:
            if (auto end = pass.terminals->find(slot.holder)) return *std::move(end);
            return read_path(slot, group, pass);
        case FileKind::Pipe: {
            const auto id = static_cast<std::uint32_t>(slot.info.inode);
            pass.pipes[id].add(slot);
            if (is_readable(slot.info.flags) || !pass.pipe_group.contains(id)) {
                pass.pipe_group[id] = group;
            }
            return model::PipeEnd{.pipe_id = id, .path = {}, .mode = 0, .ghost = 0};
        }
        case FileKind::EventFd:
            return TRY(read_eventfd(slot));
        case FileKind::EventPoll:
            TRY(check_epoll(group, pass));
            return read_epoll(slot);
        case FileKind::SignalFd:
            return TRY(read_signalfd(slot));
        case FileKind::TimerFd:
            return TRY(read_timerfd(pass.copies[group].get(), slot));
        case FileKind::MemFd: {
            model::MemoryFile file =
                TRY(paths.memfds().note(link_of(slot.holder), slot.holder.text()));
            file.position = slot.info.position;
            return file;
        }
        case FileKind::Inotify:
            if (TRY(has_events(pass.copies[group].get()))) {
                pass.result.busy = fmt::format("{}: unread inotify events", slot.holder.text());
            }
            return TRY(read_inotify(slot, root));
        case FileKind::PidFd:
            return TRY(read_pidfd(pass.copies[group].get(), slot, pass.pids));
        case FileKind::Socket:
            return read_socket(slot, group, pass);
        case FileKind::Other:
            break;
    }
    return refuse(slot.holder, fmt::format("{}, which is not carried: close it", slot.link));
}

Result<> FileCollector::Impl::read_group(std::size_t group, Pass& pass) {
    const Slot& slot = pass.slots[pass.groups[group].front()];
    std::vector<const Slot*> sharers;
    for (const std::size_t index : pass.groups[group]) {
        TRY(check_locks(pass.slots[index], options.file_locks));
        sharers.push_back(&pass.slots[index]);
    }
    collect_locks(sharers, pass.result.locks);
    model::OpenFile file;
    file.id = next_id++;
    file.flags = slot.info.flags & ~static_cast<std::uint32_t>(O_CLOEXEC);
    pass.copies[group] = TRY(scanner.duplicate(slot.holder));
    file.owner = TRY(read_owner(pass.copies[group].get(), file.flags));
    file.body = TRY(read_body(slot, group, pass));
    for (const Slot* sharing : sharers) {
        const auto process =
            std::ranges::find(pass.result.processes, sharing->holder.pid, &ProcessFiles::pid);
        if (process == pass.result.processes.end()) continue;  // in flight
        process->descriptors.push_back({.fd = sharing->holder.fd,
                                        .file = file.id,
                                        .close_on_exec = (sharing->info.flags & O_CLOEXEC) != 0});
    }
    pass.result.files.push_back(std::move(file));
    return {};
}

// Of one open file that is in flight: the slots from `first` on are ours. Its group.
Result<std::size_t> FileCollector::Impl::read_arrived(const std::vector<std::size_t>& sharers,
                                                      std::size_t first, Pass& pass) {
    const Slot& slot = pass.slots[sharers.front()];
    if (slot.kind == FileKind::PidFd) return fail(Error::unsupported("a pidfd"));
    for (std::size_t group = 0; group < pass.groups.size(); ++group) {
        if (pass.groups[group].front() == sharers.front()) return group;
    }
    CHECK(sharers.front() >= first);
    if (slot.kind == FileKind::EventPoll) return fail(Error::unsupported("an epoll descriptor"));
    if (!slot.info.locks.empty()) return fail(Error::unsupported("a file with a lock"));
    pass.groups.push_back(sharers);
    pass.copies.emplace_back();
    TRY(read_group(pass.groups.size() - 1, pass));
    return pass.groups.size() - 1;
}

// What is in flight may be open in the tree as well; what is not may itself be a socket with more
// in flight.
Result<> FileCollector::Impl::read_in_flight(Pass& pass) {
    while (!pass.in_flight.empty() && pass.result.busy.empty()) {
        std::vector<InFlight> batch = std::exchange(pass.in_flight, {});
        TRY(make_room_for_descriptors(2 * batch.size()));
        const std::size_t first = pass.slots.size();
        const Pid self{::getpid()};
        for (InFlight& sent : batch) {
            pass.slots.push_back(TRY(scanner.look_at({.pid = self, .fd = sent.fd.get()})));
            arrived.push_back(std::move(sent.fd));
        }
        std::vector<model::FileId> files(batch.size());
        for (const auto& sharers : TRY(group_descriptions(pass.slots))) {
            const auto is_ours = [&](std::size_t slot) { return slot >= first; };
            const auto ours = std::ranges::find_if(sharers, is_ours);
            if (ours == sharers.end()) continue;
            const InFlight& sent = batch[*ours - first];
            const std::size_t socket = pass.groups[sent.socket].front();
            const std::size_t group = TRY(with_context(
                read_arrived(sharers, first, pass),
                fmt::format("{}: in flight (SCM_RIGHTS)", pass.slots[socket].holder.text())));
            for (const std::size_t slot : sharers | std::views::filter(is_ours)) {
                files[slot - first] = pass.result.files[group].id;
            }
        }
        for (std::size_t i = 0; i < batch.size(); ++i) {
            auto& body = pass.result.files[batch[i].socket].body;
            std::get<model::UnixSocket>(body).receive_queue[batch[i].message].rights.push_back(
                files[i]);
        }
    }
    return {};
}

// An epoll target is named by the descriptor it was added with. Where that number is closed or
// means another file by now, the target can no longer be added from outside.
Result<> FileCollector::Impl::check_epoll(std::size_t group, const Pass& pass) const {
    const auto has_target = [&](const Holder& holder, const model::EpollTarget& target) {
        const auto key = std::pair(holder.pid, target.fd);
        const auto begin = std::ranges::find(pass.slots, holder.pid,
                                             [](const Slot& slot) { return slot.holder.pid; });
        const auto end = std::find_if(begin, pass.slots.end(), [&](const Slot& slot) {
            return slot.holder.pid != holder.pid;
        });
        const auto found = std::lower_bound(
            begin, end, key.second, [](const Slot& slot, int fd) { return slot.holder.fd < fd; });
        return found != end && found->holder.fd == target.fd && found->info.inode == target.inode;
    };
    const Slot& epoll = pass.slots[pass.groups[group].front()];
    for (const model::EpollTarget& target : epoll.info.epoll_targets) {
        const bool known = std::ranges::any_of(pass.groups[group], [&](std::size_t index) {
            return has_target(pass.slots[index].holder, target);
        });
        if (!known) {
            return refuse(
                epoll.holder,
                fmt::format("an epoll descriptor that watches descriptor {}, which is closed "
                            "or reused but still open elsewhere",
                            target.fd));
        }
    }
    return {};
}

Result<> FileCollector::Impl::read_pipes(Pass& pass) {
    for (const auto& [id, group] : pass.pipe_group) {
        const PipeEnds& ends = pass.pipes[id];
        const int copy = pass.copies[group].get();
        TRY(check_pipe_ends(ends, copy));
        model::Pipe pipe =
            TRY(with_context(read_pipe(copy, id, ends.reader.fd >= 0), ends.any.text()));
        const Slot& slot = pass.slots[pass.groups[group].front()];
        if ((slot.info.flags & O_DIRECT) != 0 && !pipe.content.empty()) {
            return refuse(ends.any, "a pipe in packet mode (O_DIRECT) with unread packets");
        }
        pass.result.pipes.push_back(std::move(pipe));
    }
    return {};
}

Result<> FileCollector::Impl::read_connections(Pass& pass) {
    // All into repair before any is read: connections may have both ends in the tree.
    for (const std::size_t group : pass.connections) {
        const auto& socket = std::get<model::InetSocket>(pass.result.files[group].body);
        Connection& entry = connections.emplace_back(Connection{
            .fd = std::move(pass.copies[group]), .reuse_address = socket.options.reuse_address});
        if (registry != nullptr) registry->add(entry.fd.get(), entry.reuse_address);
        TRY(enter_repair(entry.fd.get()));
    }
    for (std::size_t i = 0; i < pass.connections.size(); ++i) {
        const std::size_t group = pass.connections[i];
        auto& socket = std::get<model::InetSocket>(pass.result.files[group].body);
        const int fd = connections[i].fd.get();
        const tcp_info info = TRY(tcp_info_of(fd));
        // A late acknowledgement may still move it along, a reset may end it.
        if (!has_peer(info.tcpi_state)) {
            const Slot& slot = pass.slots[pass.groups[group].front()];
            pass.result.busy = fmt::format("{}: the TCP connection ended", slot.holder.text());
            return {};
        }
        socket.state = info.tcpi_state;
        socket.tcp = TRY(with_context(read_tcp_connection(fd, info),
                                      pass.slots[pass.groups[group].front()].holder.text()));
    }
    // Read, they need not be deaf: whatever their timers say is not let out by the network's hold.
    for (const Connection& connection : connections) {
        TRY(leave_repair_silently(connection.fd.get(), connection.reuse_address));
    }
    return {};
}

Result<> FileCollector::Impl::read_relations(Pass& pass) {
    for (std::size_t group = 0; group < pass.groups.size(); ++group) {
        if (const auto* socket = std::get_if<model::UnixSocket>(&pass.result.files[group].body)) {
            pass.unix_sockets.push_back({pass.slots[pass.groups[group].front()].holder, socket});
        }
    }
    const auto strangers = find_strangers(pass.unix_sockets, {}, options.external_unix);
    if (!strangers.empty()) return refuse_stranger(strangers.front());
    TRY(read_pipes(pass));
    if (TRY(handshakes.concerns(pass.listening))) {
        pass.result.busy = "a TCP handshake with a listening socket is under way";
        return {};
    }
    return read_connections(pass);
}

void FileCollector::Impl::roll_back() {
    for (const Connection& connection : connections) {
        // Nothing can be done about a failure, and there is none to expect: it has been in repair.
        std::ignore = enter_repair(connection.fd.get());
        std::ignore = leave_repair(connection.fd.get(), connection.reuse_address);
    }
    forget_connections();
}

void FileCollector::Impl::forget_connections() {
    // The last one first, as registries like it.
    for (const Connection& connection : std::views::reverse(connections)) {
        if (registry != nullptr) registry->remove(connection.fd.get());
    }
    connections.clear();
    arrived.clear();
}

Result<CollectedFiles> FileCollector::collect(std::span<const Pid> pids) {
    impl_->roll_back();
    Impl::Pass pass;
    pass.pids = pids;
    const auto work = [&]() -> Result<> {
        const os::NetworkScope there = TRY(impl_->enter_network());
        TRY(make_room_for_descriptors());
        TRY(impl_->multicast_groups.look());
        TRY(impl_->scan(pass));
        for (std::size_t group = 0; group < pass.groups.size(); ++group) {
            TRY(impl_->read_group(group, pass));
            if (!pass.result.busy.empty()) return {};
        }
        TRY(impl_->read_in_flight(pass));
        if (!pass.result.busy.empty()) return {};
        TRY(impl_->read_relations(pass));
        TRY(impl_->paths.collect(pass.result.files, pass.ghosts));
        return impl_->read_ghosts(pass);
    };
    const auto done = work();
    if (!done || !pass.result.busy.empty()) impl_->roll_back();
    if (!done) return fail(done.error());
    if (!pass.result.busy.empty()) {
        CollectedFiles busy;
        busy.busy = std::move(pass.result.busy);
        busy.waiting = std::move(pass.result.waiting);
        return busy;
    }
    std::ranges::sort(pass.result.files, {}, &model::OpenFile::id);
    for (ProcessFiles& process : pass.result.processes) {
        std::ranges::sort(process.descriptors, {}, &model::Descriptor::fd);
    }
    return std::move(pass.result);
}

void FileCollector::begin_collect() {
    // The thread is born where we are at that moment. Without it collect() looks by itself.
    const auto there = impl_->enter_network();
    if (there) impl_->handshakes.start(impl_->listening_families);
}

void FileCollector::rollback() {
    impl_->roll_back();
}

void FileCollector::silence() {
    for (const auto& connection : impl_->connections) {
        // The tree has to end all the same; who sees a reset has to connect again.
        const auto entered = enter_repair(connection.fd.get());
        if (!entered) log_warn("the end of a connection: {}", entered.error().message());
    }
    impl_->forget_connections();
}

}  // namespace ferry::resources
