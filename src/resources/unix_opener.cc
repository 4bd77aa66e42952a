// The restoring half of unix_socket.h: sockets that refer to each other by peer and by name.
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "os/endpoint.h"
#include "os/paths.h"
#include "os/scope.h"
#include "os/socket.h"
#include "resources/unix_socket.h"

namespace ferry::resources {
namespace {

using model::UnixSocket;

bool has_path(const std::string& name) {
    return !name.empty() && name.front() != '\0';
}

Result<os::SocketAddress> address_of(const std::string& name) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    if (name.size() > sizeof(address.sun_path)) {
        return fail(Error::corrupt(fmt::format("a unix socket name of {} bytes", name.size())));
    }
    std::memcpy(address.sun_path, name.data(), name.size());
    os::SocketAddress result = os::make_address(address);
    // The length counts for abstract names; a path ends with NUL where it fits.
    result.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    if (has_path(name) && name.size() < sizeof(address.sun_path)) result.size += 1;
    return result;
}

// Where bind(2) makes its file, and where that stands in the end.
std::string bound_at(const UnixSocket& socket) {
    return socket.directory.empty() ? socket.name : socket.directory + "/" + socket.name;
}
std::string stands_at(const UnixSocket& socket) {
    return socket.path.empty() ? bound_at(socket) : socket.path;
}

// By which others reach it.
Result<os::SocketAddress> reachable_at(const UnixSocket& socket) {
    return address_of(has_path(socket.name) ? stands_at(socket) : socket.name);
}

std::string aside_of(const std::string& path, const UnixSocket& socket) {
    return fmt::format("{}.ferry-{}", path, socket.inode);
}

// As its owner made it: bound by a name that it does not have in the end. What has that name by now
// keeps it.
Result<> bind_and_rename(int fd, const os::SocketAddress& address, const UnixSocket& socket) {
    const std::string path = bound_at(socket), aside = aside_of(path, socket);
    const bool is_taken = os::fstatat(os::kCwd, path, AT_SYMLINK_NOFOLLOW).has_value();
    if (is_taken) TRY(os::rename(path, aside));
    auto bound = with_context(os::bind(fd, address), socket.name);
    if (bound) bound = os::rename(path, stands_at(socket));
    if (is_taken) TRY(os::rename(aside, path));
    return bound;
}

bool is_connected_stream(const UnixSocket& socket) {
    return socket.type != SOCK_DGRAM && socket.state == TCP_ESTABLISHED;
}

// Larger than any queue that is carried; the recorded size follows when the queues are filled.
constexpr int kFillingSendBuffer = 64 << 20;

using OpenedAs = std::function<int(model::FileId)>;

// What was sent with a message; how many of its bytes went with them.
Result<std::size_t> send_in_flight(int sender, const model::UnixMessage& message,
                                   const os::SocketAddress* address, const OpenedAs& opened) {
    std::vector<int> rights;
    for (const model::FileId file : message.rights) {
        rights.push_back(opened(file));
        if (rights.back() >= 0) continue;
        return fail(Error::unsupported(fmt::format("file {}, in flight, is not open yet", file)));
    }
    return os::send_rights(sender, message.content, MSG_DONTWAIT, address, rights);
}

Result<> send_queue_to(int sender, const UnixSocket& receiver, const os::SocketAddress* address,
                       const OpenedAs& opened) {
    TRY(os::setsockopt(sender, SOL_SOCKET, SO_SNDBUFFORCE, kFillingSendBuffer));
    for (const model::UnixMessage& message : receiver.receive_queue) {
        std::span<const std::byte> left = message.content;
        if (!message.rights.empty()) {
            left = left.subspan(TRY(send_in_flight(sender, message, address, opened)));
            if (left.empty()) continue;
        }
        do {
            const std::size_t sent = TRY(os::sendto(sender, left, MSG_DONTWAIT, address));
            left = left.subspan(sent);
        } while (!left.empty());
    }
    return {};
}

}  // namespace

// Removes what was bound and puts back what stood there, in reverse order.
void UnixOpener::put_back(std::vector<Displaced>& displaced) {
    for (auto entry = displaced.rbegin(); entry != displaced.rend(); ++entry) {
        std::ignore = os::unlinkat(os::kCwd, entry->path);
        if (!entry->aside.empty()) std::ignore = os::rename(entry->aside, entry->path);
    }
    displaced.clear();
}

// One run of UnixOpener::open().
class UnixOpener::Work {
  public:
    Work(std::vector<const UnixSocket*> sockets, std::vector<Displaced>& displaced)
        : sockets_(std::move(sockets)), displaced_(displaced) {
        for (const UnixSocket* socket : sockets_) by_inode_[socket->inode] = socket;
    }
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;
    ~Work() { end_temporary_listeners(); }
    Result<> run();
    // Whose they are then; their numbers stay known.
    std::map<std::uint32_t, os::UniqueFd> take();
    Result<> fill_all(const OpenedAs& opened);

  private:
    [[nodiscard]] const UnixSocket* peer_of(const UnixSocket& socket) const {
        const auto found = by_inode_.find(socket.peer_inode);
        return found == by_inode_.end() ? nullptr : found->second;
    }
    [[nodiscard]] int fd(const UnixSocket& socket) const {
        const auto taken = taken_.find(socket.inode);
        return taken != taken_.end() ? taken->second : fds_.at(socket.inode).get();
    }
    Result<> bind_name(int fd, const UnixSocket& socket);
    Result<> open_single(const UnixSocket& socket);
    struct Listener {
        int fd = -1;
        os::SocketAddress address;
    };
    Result<Listener> listener_for(const UnixSocket& accepted);
    Result<> open_pair(const UnixSocket& a, const UnixSocket& b);
    Result<> open_accepted_pair(const UnixSocket& client, const UnixSocket& accepted);
    Result<> open_orphan(const UnixSocket& socket);
    Result<> open_stream(const UnixSocket& socket);
    Result<> connect_datagram(const UnixSocket& socket);
    Result<> fill(const UnixSocket& socket, const OpenedAs& opened);
    Result<> finish_options(const UnixSocket& socket);
    void end_temporary_listeners();

    std::vector<const UnixSocket*> sockets_;
    std::vector<Displaced>& displaced_;
    std::map<std::uint32_t, const UnixSocket*> by_inode_;
    std::map<std::uint32_t, os::UniqueFd> fds_;
    std::map<std::uint32_t, int> taken_;
    std::map<std::uint32_t, os::UniqueFd> dead_peers_;  // by the survivor's inode
    FreshOptions fresh_;
    std::map<std::pair<int, std::string>, os::UniqueFd>
        temporary_;  // listeners that no longer exist
    std::vector<Displaced> temporary_displaced_;
};

Result<> UnixOpener::Work::bind_name(int fd, const UnixSocket& socket) {
    if (socket.name.empty()) return {};
    const os::SocketAddress address = TRY(address_of(socket.name));
    if (!has_path(socket.name)) {
        return with_context(os::bind(fd, address), "@" + socket.name.substr(1));
    }
    const os::DirectoryScope there = TRY(os::DirectoryScope::enter(socket.directory));
    const std::string path = stands_at(socket);
    Displaced displaced = {.path = path, .aside = {}};
    const auto status = os::fstatat(os::kCwd, path, AT_SYMLINK_NOFOLLOW);
    if (status) {
        if (!S_ISSOCK(status->st_mode)) {
            return fail(Error::invalid(fmt::format("{} is in the way: it is no socket", path)));
        }
        displaced.aside = aside_of(path, socket);
        TRY(os::rename(path, displaced.aside));
    }
    displaced_.push_back(displaced);
    if (socket.path.empty()) {
        TRY(with_context(os::bind(fd, address), socket.name));
    } else {
        TRY(bind_and_rename(fd, address, socket));
    }
    if (socket.file_mode == 0) return {};
    TRY(os::chmod(path, socket.file_mode & 07777));
    return os::chown(path, socket.file_uid, socket.file_gid);
}

// Listening, bound or plain sockets, and datagram sockets but for unnamed pairs.
Result<> UnixOpener::Work::open_single(const UnixSocket& socket) {
    os::UniqueFd opened = TRY(os::socket(AF_UNIX, socket.type, 0));
    TRY(bind_name(opened.get(), socket));
    if (socket.state == TCP_LISTEN) {
        TRY(os::listen(opened.get(), static_cast<int>(socket.backlog)));
    }
    fds_[socket.inode] = std::move(opened);
    return {};
}

// The socket that connections of this name were accepted from, and where it is reached; made for
// the moment if it is gone.
Result<UnixOpener::Work::Listener> UnixOpener::Work::listener_for(const UnixSocket& accepted) {
    for (const UnixSocket* socket : sockets_) {
        if (socket->state == TCP_LISTEN && socket->type == accepted.type &&
            socket->name == accepted.name) {
            return Listener{fd(*socket), TRY(reachable_at(*socket))};
        }
    }
    auto& made = temporary_[{accepted.type, accepted.name}];
    if (!made) {
        os::UniqueFd opened = TRY(os::socket(AF_UNIX, accepted.type, 0));
        const std::size_t before = displaced_.size();
        const auto bound = bind_name(opened.get(), accepted);
        while (displaced_.size() > before) {
            temporary_displaced_.push_back(std::move(displaced_.back()));
            displaced_.pop_back();
        }
        TRY(bound);
        TRY(os::listen(opened.get(), 1));
        made = std::move(opened);
    }
    return Listener{made.get(), TRY(reachable_at(accepted))};
}

Result<> UnixOpener::Work::open_accepted_pair(const UnixSocket& client,
                                              const UnixSocket& accepted) {
    const Listener listener = TRY(listener_for(accepted));
    os::UniqueFd opened = TRY(os::socket(AF_UNIX, client.type, 0));
    TRY(bind_name(opened.get(), client));
    TRY(os::connect(opened.get(), listener.address));
    fds_[accepted.inode] = TRY(os::accept4(listener.fd, 0));
    fds_[client.inode] = std::move(opened);
    return {};
}

Result<> UnixOpener::Work::open_pair(const UnixSocket& a, const UnixSocket& b) {
    const bool named = is_connected_stream(a) && (!a.name.empty() || !b.name.empty());
    if (named) {
        // With two names, the accepted end is the one that a listener still has.
        const bool b_has_listener = std::ranges::any_of(sockets_, [&](const UnixSocket* socket) {
            return socket->state == TCP_LISTEN && socket->name == b.name;
        });
        const bool b_accepted = !b.name.empty() && (a.name.empty() || b_has_listener);
        return b_accepted ? open_accepted_pair(a, b) : open_accepted_pair(b, a);
    }
    auto [first, second] = TRY(os::socketpair(AF_UNIX, a.type));
    TRY(bind_name(first.get(), a));
    TRY(bind_name(second.get(), b));
    fds_[a.inode] = std::move(first);
    fds_[b.inode] = std::move(second);
    return {};
}

// Connected once; the peer has closed. What it had sent can still be read.
Result<> UnixOpener::Work::open_orphan(const UnixSocket& socket) {
    auto [first, second] = TRY(os::socketpair(AF_UNIX, socket.type));
    fds_[socket.inode] = std::move(first);
    dead_peers_[socket.inode] = std::move(second);
    return {};
}

Result<> UnixOpener::Work::open_stream(const UnixSocket& socket) {
    if (fds_.contains(socket.inode)) return {};
    const UnixSocket* peer = peer_of(socket);
    if (peer == nullptr) return open_orphan(socket);
    if (peer == &socket || peer->type != socket.type || fds_.contains(peer->inode)) {
        return fail(Error::corrupt(fmt::format("unix socket {}: impossible peer", socket.inode)));
    }
    return open_pair(socket, *peer);
}

Result<> UnixOpener::Work::connect_datagram(const UnixSocket& socket) {
    if (socket.type != SOCK_DGRAM || socket.peer_inode == 0) return {};
    const UnixSocket* peer = peer_of(socket);
    const std::string& name = peer != nullptr ? peer->name : socket.peer_name;
    if (peer != nullptr && name.empty()) return {};  // an unnamed pair, connected from the start
    const os::SocketAddress address =
        peer != nullptr ? TRY(reachable_at(*peer)) : TRY(address_of(name));
    return with_context(os::connect(fd(socket), address), "peer of a unix socket");
}

Result<> UnixOpener::Work::fill(const UnixSocket& socket, const OpenedAs& opened) {
    if (socket.receive_queue.empty()) return {};
    if (const auto dead = dead_peers_.find(socket.inode); dead != dead_peers_.end()) {
        return send_queue_to(dead->second.get(), socket, nullptr, opened);
    }
    const UnixSocket* peer = peer_of(socket);
    const bool mutual = peer != nullptr && peer->peer_inode == socket.inode;
    if (mutual) return send_queue_to(fd(*peer), socket, nullptr, opened);
    // Whoever sent these datagrams is unknown or gone.
    const os::UniqueFd sender = TRY(os::socket(AF_UNIX, socket.type, 0));
    const os::SocketAddress address = TRY(reachable_at(socket));
    return send_queue_to(sender.get(), socket, &address, opened);
}

Result<> UnixOpener::Work::finish_options(const UnixSocket& socket) {
    const SocketKind kind = {AF_UNIX, socket.type, 0};
    const model::SocketOptions& fresh = *TRY(fresh_.of(kind));
    const int own = fd(socket);
    const int size = static_cast<int>(socket.options.send_buffer / 2);
    TRY(os::setsockopt(own, SOL_SOCKET, SO_SNDBUFFORCE, size));
    if (socket.options.receive_buffer != fresh.receive_buffer) {
        const int receive_size = static_cast<int>(socket.options.receive_buffer / 2);
        TRY(os::setsockopt(own, SOL_SOCKET, SO_RCVBUFFORCE, receive_size));
    }
    TRY(apply_socket_options(own, kind, socket.options, fresh));
    TRY(apply_buffer_locks(own, socket.options));
    if (socket.shutdown == 0 || dead_peers_.contains(socket.inode)) return {};
    const auto shut = os::shutdown(own, socket.shutdown - 1);
    if (!shut && shut.error().code() != ENOTCONN) return shut;
    return {};
}

// Their files did not exist at the dump, or were another socket's.
void UnixOpener::Work::end_temporary_listeners() {
    temporary_.clear();
    put_back(temporary_displaced_);
}

Result<> UnixOpener::Work::run() {
    const auto is_unnamed_pair = [&](const UnixSocket& socket) {
        const UnixSocket* peer = peer_of(socket);
        return socket.type == SOCK_DGRAM && peer != nullptr && peer != &socket &&
               peer->peer_inode == socket.inode && (socket.name.empty() || peer->name.empty());
    };
    for (const UnixSocket* socket : sockets_) {
        if (fds_.contains(socket->inode) || is_connected_stream(*socket)) continue;
        if (is_unnamed_pair(*socket)) {
            TRY(open_pair(*socket, *peer_of(*socket)));
        } else if (socket->name.empty() && !socket->receive_queue.empty()) {
            TRY(open_orphan(*socket));
        } else {
            TRY(open_single(*socket));
        }
    }
    for (const UnixSocket* socket : sockets_) {
        if (is_connected_stream(*socket)) TRY(open_stream(*socket));
    }
    end_temporary_listeners();
    for (const UnixSocket* socket : sockets_) TRY(connect_datagram(*socket));
    return {};
}

std::map<std::uint32_t, os::UniqueFd> UnixOpener::Work::take() {
    for (const auto& [inode, opened] : fds_) taken_[inode] = opened.get();
    return std::exchange(fds_, {});
}

Result<> UnixOpener::Work::fill_all(const OpenedAs& opened) {
    for (const UnixSocket* socket : sockets_) TRY(fill(*socket, opened));
    for (const UnixSocket* socket : sockets_) TRY(finish_options(*socket));
    return {};
}

Result<std::map<std::uint32_t, os::UniqueFd>> UnixOpener::open(
    const std::vector<const UnixSocket*>& sockets, int root,
    const std::optional<os::UserIds>& user) {
    if (sockets.empty()) return std::map<std::uint32_t, os::UniqueFd>{};
    root_ = root;
    user_ = user;
    const os::UserScope as_user = TRY(os::UserScope::enter(user_));
    const os::RootScope there = TRY(os::RootScope::enter(root_));
    work_ = std::make_unique<Work>(sockets, displaced_);
    TRY(work_->run());
    return work_->take();
}

Result<> UnixOpener::fill(const std::function<int(model::FileId)>& opened) {
    const std::unique_ptr<Work> work = std::move(work_);
    if (!work) return {};
    const os::UserScope as_user = TRY(os::UserScope::enter(user_));
    const os::RootScope there = TRY(os::RootScope::enter(root_));
    return work->fill_all(opened);
}

UnixOpener::UnixOpener() = default;

void UnixOpener::settle() {
    if (displaced_.empty()) return;
    const auto there = os::RootScope::enter(root_);
    if (!there) return;
    for (const Displaced& displaced : displaced_) {
        if (!displaced.aside.empty()) std::ignore = os::unlinkat(os::kCwd, displaced.aside);
    }
    displaced_.clear();
}

UnixOpener::~UnixOpener() {
    if (displaced_.empty()) return;
    const auto as_user = os::UserScope::enter(user_);
    const auto there = os::RootScope::enter(root_);
    if (as_user && there) put_back(displaced_);
}

}  // namespace ferry::resources
