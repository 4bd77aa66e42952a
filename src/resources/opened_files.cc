#include "resources/opened_files.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "base/log.h"
#include "os/description.h"
#include "proc/user_namespace.h"
#include "resources/descriptor_room.h"
#include "resources/event_files.h"
#include "resources/given_stream.h"
#include "resources/inet_socket.h"
#include "resources/inotify.h"
#include "resources/memfd.h"
#include "resources/multicast.h"
#include "resources/netlink_socket.h"
#include "resources/packet_socket.h"
#include "resources/pidfd.h"
#include "resources/pipe.h"
#include "resources/posix_queue.h"
#include "resources/regular_file.h"
#include "resources/signalfd.h"
#include "resources/terminal.h"
#include "resources/timerfd.h"
#include "resources/unix_socket.h"

namespace ferry::resources {
namespace {

// What fcntl(F_SETFL) can change (fcntl(2)).
constexpr std::uint32_t kStatusFlags = O_APPEND | O_ASYNC | O_DIRECT | O_NOATIME | O_NONBLOCK;

Result<> apply_status_flags(int fd, std::uint32_t flags) {
    if ((flags & O_PATH) != 0) return {};
    const auto current = static_cast<std::uint32_t>(TRY(os::fcntl(fd, F_GETFL)));
    if ((current & kStatusFlags) == (flags & kStatusFlags)) return {};
    TRY(os::fcntl(fd, F_SETFL, flags & kStatusFlags));
    return {};
}

Result<> apply_owner(int fd, const model::FileOwner& owner, const os::PidNamespace& pids) {
    if (owner.pid == 0) return {};
    const Tid ours = TRY(pids.ours(Tid{owner.pid}));
    TRY(os::set_owner(fd, {.type = owner.pid_type, .pid = ours.value}));
    if (owner.signal != 0) TRY(os::fcntl(fd, F_SETSIG, static_cast<std::uint64_t>(owner.signal)));
    return {};
}

// What processes map, execute and are in, which is there before a skeleton is.
std::set<model::FileId> files_without_descriptor(const model::Checkpoint& skeleton) {
    std::set<model::FileId> files;
    for (const model::Process& process : skeleton.processes) {
        files.insert(
            {process.address_space.exe_file, process.working_directory, process.root_directory});
        for (const model::Vma& vma : process.address_space.vmas) files.insert(vma.file);
    }
    return files;
}

// Watches do not report what is done before; what waits at Unix sockets may be any open file.
enum class Turn : std::uint8_t { First, Watches, UnixSockets };
Turn turn_of(const model::OpenFile& file) {
    if (std::holds_alternative<model::Inotify>(file.body)) return Turn::Watches;
    if (std::holds_alternative<model::UnixSocket>(file.body)) return Turn::UnixSockets;
    return Turn::First;
}

struct OpenedFile {
    os::UniqueFd fd;
    // Files opened by path ahead of time: how, to see whether the final state still asks for this.
    std::string path;
    std::uint32_t flags = 0;
};

}  // namespace

struct OpenedFiles::Impl {
    OpenOptions options;
    Surroundings surroundings;
    std::map<model::FileId, OpenedFile> files;
    GhostFiles ghosts;
    InetOpener inet;
    UnixOpener unix_opener;
    PosixQueueOpener queues;
    std::map<std::uint64_t, model::FileId> originals;  // of memfds, by inode
    std::vector<DormantConnection> dormant;
    bool settled = false;  // all of them
    std::vector<model::InetSocket> with_datagrams;
    std::map<model::FileId, std::vector<model::GroupMembership>> members;

    Result<> open_path(const model::Checkpoint& checkpoint, const model::OpenFile& file,
                       const model::RegularFile& body);
    Result<os::UniqueFd> open_inet(const model::InetSocket& socket);
    Result<> open_unix(const model::Checkpoint& checkpoint);
    Result<> fill_unix();
    Result<os::UniqueFd> open_terminal(const model::TerminalFile& file, std::uint32_t flags);
    Result<> make_queues(const model::Checkpoint& checkpoint);
    Result<> open_one(const model::Checkpoint& checkpoint, const model::OpenFile& file,
                      PipeOpener& pipes);
    bool is_original(const model::Checkpoint& checkpoint, const model::OpenFile& file,
                     const model::MemoryFile& body);
    Result<> settle(const model::OpenFile& file);
    void keep(const model::OpenFile& file, os::UniqueFd fd) {
        files[file.id] = {.fd = std::move(fd), .path = {}, .flags = file.flags};
    }
};

OpenedFiles::OpenedFiles(OpenOptions options) : impl_(std::make_unique<Impl>()) {
    impl_->options = std::move(options);
}
OpenedFiles::OpenedFiles(OpenedFiles&&) noexcept = default;
OpenedFiles& OpenedFiles::operator=(OpenedFiles&&) noexcept = default;
OpenedFiles::~OpenedFiles() = default;

Result<Surroundings> Surroundings::of(Pid process) {
    return Surroundings{
        .root = TRY(os::open(fmt::format("/proc/{}/root", process), O_PATH | O_DIRECTORY)),
        .network = TRY(os::open(fmt::format("/proc/{}/ns/net", process), O_RDONLY)),
        .ipc = TRY(os::open(fmt::format("/proc/{}/ns/ipc", process), O_RDONLY)),
        .pids = TRY(os::PidNamespace::of(process)),
        .user = TRY(proc::foreign_root(process))};
}

void OpenedFiles::settle_in(Surroundings surroundings) {
    impl_->surroundings = std::move(surroundings);
}

int OpenedFiles::fd(model::FileId id) const {
    const auto found = impl_->files.find(id);
    return found == impl_->files.end() ? -1 : found->second.fd.get();
}

Result<> OpenedFiles::Impl::open_path(const model::Checkpoint& checkpoint,
                                      const model::OpenFile& file, const model::RegularFile& body) {
    const auto known = files.find(file.id);
    if (known != files.end() && known->second.path == body.path &&
        known->second.flags == file.flags) {
        return {};
    }
    if (body.ghost != 0) {
        TRY(ghosts.prepare(checkpoint, body.ghost, surroundings.root.get()));
        files[file.id] = {.fd = TRY(ghosts.open(body.ghost, opening_flags(file.flags))),
                          .path = body.path,
                          .flags = file.flags};
        return {};
    }
    const os::RootScope there = TRY(os::RootScope::enter(surroundings.root.get()));
    files[file.id] = {.fd = TRY(open_regular_file(body, file.flags, options.shell_job)),
                      .path = body.path,
                      .flags = file.flags};
    return {};
}

Result<> OpenedFiles::prepare(const model::Checkpoint& skeleton) {
    TRY(make_room_for_descriptors());
    const os::UserScope user = TRY(os::UserScope::enter(impl_->surroundings.user));
    const std::set<model::FileId> needed = files_without_descriptor(skeleton);
    for (const model::OpenFile& file : skeleton.files) {
        const auto* body = std::get_if<model::RegularFile>(&file.body);
        if (body == nullptr) continue;
        auto opened = impl_->open_path(skeleton, file, *body);
        if (!opened && needed.contains(file.id)) return opened;
        // What a descriptor leads to may have been made a moment ago.
        if (!opened) log_debug("{}, ignoring: not there yet", opened.error().message());
    }
    return {};
}

Result<os::UniqueFd> OpenedFiles::open_ghost(const model::Checkpoint& checkpoint,
                                             model::FileId id) {
    const model::OpenFile* file = checkpoint.find_file(id);
    const auto* body = file == nullptr ? nullptr : std::get_if<model::RegularFile>(&file->body);
    if (body == nullptr) return fail(Error::corrupt(fmt::format("file {} is no regular one", id)));
    const os::UserScope user = TRY(os::UserScope::enter(impl_->surroundings.user));
    TRY(impl_->ghosts.prepare(checkpoint, body->ghost, impl_->surroundings.root.get()));
    return impl_->ghosts.open(body->ghost, opening_flags(file->flags));
}

Result<os::UniqueFd> OpenedFiles::Impl::open_inet(const model::InetSocket& socket) {
    const os::NetworkScope there = TRY(os::NetworkScope::enter(surroundings.network.get()));
    if (!socket.datagrams.empty()) with_datagrams.push_back(socket);
    if (!socket.tcp) return inet.open_plain(socket);
    OpenedConnection opened = TRY(inet.open_connection(socket));
    dormant.push_back(std::move(opened.dormant));
    return std::move(opened.fd);
}

Result<> OpenedFiles::Impl::open_unix(const model::Checkpoint& checkpoint) {
    std::vector<const model::UnixSocket*> sockets;
    for (const model::OpenFile& file : checkpoint.files) {
        if (const auto* socket = std::get_if<model::UnixSocket>(&file.body))
            sockets.push_back(socket);
    }
    const os::NetworkScope network = TRY(os::NetworkScope::enter(surroundings.network.get()));
    auto opened = TRY(unix_opener.open(sockets, surroundings.root.get(), surroundings.user));
    for (const model::OpenFile& file : checkpoint.files) {
        const auto* socket = std::get_if<model::UnixSocket>(&file.body);
        if (socket != nullptr) keep(file, std::move(opened[socket->inode]));
    }
    return {};
}

Result<> OpenedFiles::Impl::fill_unix() {
    const os::NetworkScope network = TRY(os::NetworkScope::enter(surroundings.network.get()));
    return unix_opener.fill([&](model::FileId id) {
        const auto found = files.find(id);
        return found == files.end() ? -1 : found->second.fd.get();
    });
}

// Whoever has them open or not: the tree's IPC namespace is new.
Result<> OpenedFiles::Impl::make_queues(const model::Checkpoint& checkpoint) {
    if (!checkpoint.ipc) return {};
    const os::IpcScope there = TRY(os::IpcScope::enter(surroundings.ipc.get()));
    return queues.make(checkpoint.ipc->posix_queues);
}

Result<os::UniqueFd> OpenedFiles::Impl::open_terminal(const model::TerminalFile& file,
                                                      std::uint32_t flags) {
    if (!file.is_master) {
        const os::RootScope there = TRY(os::RootScope::enter(surroundings.root.get()));
        return open_slave(file, opening_flags(flags));
    }
    const int master = options.terminal_master ? options.terminal_master(file.index) : -1;
    if (master >= 0) return os::dup(master);
    return fail(Error::invalid(fmt::format("there is no terminal {}", file.index)));
}

// The first open file that a descriptor has, and that may be the one that memfd_create(2) made:
// that is for reading and writing.
bool OpenedFiles::Impl::is_original(const model::Checkpoint& checkpoint,
                                    const model::OpenFile& file, const model::MemoryFile& body) {
    if ((file.flags & (O_ACCMODE | O_PATH)) != O_RDWR) return false;
    const bool is_open = std::ranges::any_of(checkpoint.processes, [&](const auto& process) {
        return std::ranges::find(process.descriptors, file.id, &model::Descriptor::file) !=
               process.descriptors.end();
    });
    return is_open && originals.try_emplace(body.inode, file.id).first->second == file.id;
}

Result<> OpenedFiles::Impl::open_one(const model::Checkpoint& checkpoint,
                                     const model::OpenFile& file, PipeOpener& pipes) {
    if (const auto* path = std::get_if<model::RegularFile>(&file.body))
        return open_path(checkpoint, file, *path);
    if (const auto* end = std::get_if<model::PipeEnd>(&file.body)) {
        const bool has_path = !end->path.empty() && end->ghost == 0;
        const os::RootScope there =
            TRY(os::RootScope::enter(has_path ? surroundings.root.get() : -1));
        const std::string path = end->ghost == 0 ? end->path : TRY(ghosts.path_to(end->ghost));
        keep(file, TRY(pipes.open(*end, path, file.flags)));
    } else if (const auto* event = std::get_if<model::EventFd>(&file.body)) {
        keep(file, TRY(open_eventfd(*event)));
    } else if (std::holds_alternative<model::EventPoll>(file.body)) {
        keep(file, TRY(os::epoll_create()));
    } else if (const auto* signals = std::get_if<model::SignalFd>(&file.body)) {
        keep(file, TRY(open_signalfd(*signals)));
    } else if (const auto* timer = std::get_if<model::TimerFd>(&file.body)) {
        keep(file, TRY(open_timerfd(*timer)));
    } else if (const auto* inotify = std::get_if<model::Inotify>(&file.body)) {
        const os::RootScope there = TRY(os::RootScope::enter(surroundings.root.get()));
        keep(file, TRY(open_inotify(*inotify)));
    } else if (const auto* inet_socket = std::get_if<model::InetSocket>(&file.body)) {
        keep(file, TRY(open_inet(*inet_socket)));
        if (!inet_socket->groups.empty()) members[file.id] = inet_socket->groups;
    } else if (const auto* netlink = std::get_if<model::NetlinkSocket>(&file.body)) {
        const os::NetworkScope there = TRY(os::NetworkScope::enter(surroundings.network.get()));
        keep(file, TRY(open_netlink_socket(*netlink)));
    } else if (const auto* packet = std::get_if<model::PacketSocket>(&file.body)) {
        const os::NetworkScope there = TRY(os::NetworkScope::enter(surroundings.network.get()));
        keep(file, TRY(open_packet_socket(*packet)));
    } else if (const auto* memory = std::get_if<model::MemoryFile>(&file.body)) {
        const int object = options.shared_memory ? options.shared_memory(memory->inode) : -1;
        keep(file, TRY(open_memfd(*memory, object, file.flags,
                                  is_original(checkpoint, file, *memory) ? MemfdFile::Original
                                                                         : MemfdFile::Another)));
    } else if (const auto* given = std::get_if<model::GivenStream>(&file.body)) {
        const int fd = options.given_stream ? options.given_stream(given->number) : -1;
        keep(file, TRY(open_given_stream(fd, file.flags)));
    } else if (const auto* queue = std::get_if<model::MessageQueueFile>(&file.body)) {
        keep(file, TRY(queues.open(*queue, file.flags)));
    } else if (const auto* terminal = std::get_if<model::TerminalFile>(&file.body)) {
        keep(file, TRY(open_terminal(*terminal, file.flags)));
    }
    return {};
}

Result<> OpenedFiles::Impl::settle(const model::OpenFile& file) {
    const int fd = files[file.id].fd.get();
    if (const auto* path = std::get_if<model::RegularFile>(&file.body)) {
        TRY(settle_regular_file(fd, *path, file.flags));
    }
    std::uint32_t flags = file.flags;
    if (const auto* given = std::get_if<model::GivenStream>(&file.body)) {
        TRY(settle_given_stream(fd, *given));
        flags |= static_cast<std::uint32_t>(TRY(os::fcntl(fd, F_GETFL))) & O_APPEND;
    }
    TRY(apply_owner(fd, file.owner, surroundings.pids));
    return apply_status_flags(fd, flags);
}

Result<> OpenedFiles::finish(const model::Checkpoint& checkpoint) {
    TRY(make_room_for_descriptors());
    const os::UserScope user = TRY(os::UserScope::enter(impl_->surroundings.user));
    std::erase_if(impl_->files, [&](const auto& entry) {
        return !std::ranges::binary_search(checkpoint.files, entry.first, {}, &model::OpenFile::id);
    });
    for (const model::GhostFile& ghost : checkpoint.ghosts) {
        TRY(impl_->ghosts.prepare(checkpoint, ghost.id, impl_->surroundings.root.get()));
    }
    TRY(impl_->ghosts.finish(checkpoint));
    PipeOpener pipes;
    for (const model::Pipe& pipe : checkpoint.pipes) pipes.announce(pipe);
    TRY(impl_->open_unix(checkpoint));
    TRY(impl_->make_queues(checkpoint));
    for (const model::OpenFile& file : checkpoint.files) {
        const auto* socket = std::get_if<model::InetSocket>(&file.body);
        if (socket != nullptr) impl_->inet.announce(*socket);
    }
    for (const Turn turn : {Turn::First, Turn::Watches, Turn::UnixSockets}) {
        if (turn == Turn::UnixSockets) TRY(impl_->fill_unix());
        for (const model::OpenFile& file : checkpoint.files) {
            if (std::holds_alternative<model::PidFile>(file.body)) continue;  // open_pidfds()
            if (turn_of(file) != turn) continue;
            const std::string what = fmt::format("file {}", file.id);
            TRY(with_context(impl_->open_one(checkpoint, file, pipes), what));
            TRY(with_context(impl_->settle(file), what));
        }
    }
    impl_->ghosts.close_fifos();
    return impl_->inet.settle();
}

Result<> OpenedFiles::open_pidfds(const model::Checkpoint& checkpoint) {
    auto opened = TRY(resources::open_pidfds(checkpoint, impl_->surroundings.pids));
    for (const model::OpenFile& file : checkpoint.files) {
        const auto found = opened.find(file.id);
        if (found == opened.end()) continue;
        impl_->keep(file, std::move(found->second));
        TRY(with_context(impl_->settle(file), fmt::format("file {}", file.id)));
    }
    return {};
}

// Past commit there is no way back: every connection that can live shall live.
Result<> OpenedFiles::settle_connections() {
    const os::NetworkScope there = TRY(os::NetworkScope::enter(impl_->surroundings.network.get()));
    Result<> first;
    std::erase_if(impl_->dormant, [&](const DormantConnection& connection) {
        auto settled = settle_tcp_connection(connection, impl_->options.inject_mark);
        if (!settled && first) first = settled;
        return !settled;
    });
    impl_->settled = true;
    return first;
}

Result<> OpenedFiles::leave_repair() {
    const os::NetworkScope there = TRY(os::NetworkScope::enter(impl_->surroundings.network.get()));
    Result<> first;
    if (!impl_->settled) first = settle_connections();
    for (const DormantConnection& connection : impl_->dormant) {
        auto woken = wake_tcp_connection(connection);
        if (!woken && first) first = std::move(woken);
    }
    impl_->dormant.clear();
    for (const auto& [id, groups] : impl_->members) {
        auto reported = report_groups(impl_->files[id].fd.get(), groups);
        if (!reported && first) first = std::move(reported);
    }
    impl_->members.clear();
    for (const model::InetSocket& socket : impl_->with_datagrams) {
        auto delivered = deliver_datagrams(socket, impl_->options.inject_mark);
        if (!delivered && first) first = std::move(delivered);
    }
    impl_->with_datagrams.clear();
    impl_->unix_opener.settle();
    return first;
}

}  // namespace ferry::resources
