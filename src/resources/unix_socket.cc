#include "resources/unix_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "os/endpoint.h"
#include "os/socket.h"
#include "resources/message_queue.h"
#include "resources/socket_filter.h"

namespace ferry::resources {
namespace {

using model::UnixSocket;

struct DiagAnswer {
    std::uint8_t state = 0;
    std::string name;
    bool has_file = false;
    std::uint64_t file_inode = 0;
    std::uint32_t peer_inode = 0;
    std::uint32_t receive_queue = 0, send_queue = 0;  // listening: pending connections, backlog
    std::uint8_t shutdown = 0;
    std::vector<std::uint32_t> pending;  // listening: inodes of the clients that wait
};

// One attribute; false: shorter than its type says.
bool take_attribute(std::uint16_t type, std::span<const std::byte> payload, DiagAnswer& answer) {
    switch (type) {
        case UNIX_DIAG_NAME:
            answer.name.assign(reinterpret_cast<const char*>(payload.data()), payload.size());
            // A path may come with its closing NUL; an abstract name begins with one and has no end
            // mark.
            if (!answer.name.empty() && answer.name.front() != '\0') {
                answer.name.resize(::strnlen(answer.name.data(), answer.name.size()));
            }
            return true;
        case UNIX_DIAG_VFS: {
            unix_diag_vfs file = {};
            answer.has_file = true;
            const bool good = copy_front(payload, file);
            answer.file_inode = file.udiag_vfs_ino;
            return good;
        }
        case UNIX_DIAG_PEER:
            return copy_front(payload, answer.peer_inode);
        case UNIX_DIAG_RQLEN: {
            unix_diag_rqlen lengths = {};
            const bool good = copy_front(payload, lengths);
            answer.receive_queue = lengths.udiag_rqueue;
            answer.send_queue = lengths.udiag_wqueue;
            return good;
        }
        case UNIX_DIAG_ICONS:
            for (std::uint32_t inode = 0; copy_front(payload, inode);
                 payload = payload.subspan(sizeof(inode))) {
                answer.pending.push_back(inode);
            }
            return true;
        case UNIX_DIAG_SHUTDOWN:
            return copy_front(payload, answer.shutdown);
        default:
            return true;
    }
}

Result<DiagAnswer> ask(SockDiag& diag, std::uint32_t inode) {
    unix_diag_req request = {};
    request.sdiag_family = AF_UNIX;
    request.udiag_states = ~0u;
    request.udiag_ino = inode;
    request.udiag_show =
        UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_ICONS;
    // Any cookie (linux/inet_diag.h, INET_DIAG_NOCOOKIE).
    request.udiag_cookie[0] = ~0u;
    request.udiag_cookie[1] = ~0u;
    DiagAnswer answer;
    bool good = false;
    TRY(with_context(diag.ask(std::as_bytes(std::span(&request, 1)), false,
                              [&](std::span<const std::byte> payload) {
                                  unix_diag_msg message = {};
                                  good = copy_front(payload, message);
                                  if (!good) return;
                                  answer.state = message.udiag_state;
                                  for_each_attribute(
                                      payload.subspan(sizeof(message)),
                                      [&](std::uint16_t type, std::span<const std::byte> value) {
                                          good = take_attribute(type, value, answer);
                                          return good;
                                      });
                              }),
                     fmt::format("unix socket {}", inode)));
    if (!good) return fail(Error::corrupt("sock_diag: short answer about a unix socket"));
    return answer;
}

bool is_abstract(const std::string& name) {
    return !name.empty() && name.front() == '\0';
}

std::string shown(const std::string& name) {
    return is_abstract(name) ? "@" + name.substr(1) : name;
}

// The file's attributes, if it is the socket's.
std::optional<struct stat> file_at(const std::string& path, const DiagAnswer& answer) {
    const auto status = os::fstatat(os::kCwd, path, AT_SYMLINK_NOFOLLOW);
    if (!status || !answer.has_file || !S_ISSOCK(status->st_mode) ||
        static_cast<std::uint32_t>(status->st_ino) !=
            static_cast<std::uint32_t>(answer.file_inode)) {
        return std::nullopt;
    }
    return *status;
}

// A server that renames its socket once it is ready leaves it in the same directory.
std::string find_beside(const std::string& root, const std::string& path,
                        const DiagAnswer& answer) {
    const std::string directory = path.substr(0, path.rfind('/') + 1);
    const auto names = os::list_directory(os::kCwd, root + directory);
    if (!names) return {};
    const auto found = std::ranges::find_if(*names, [&](const std::string& name) {
        return file_at(root + directory + name, answer).has_value();
    });
    return found == names->end() ? std::string() : directory + *found;
}

// The socket's file must be found, or nobody could reach it again: at its name (a relative one in
// the working directory of who has it), or beside that under another.
Result<> read_file_of_name(const Holder& holder, const DiagAnswer& answer, const std::string& root,
                           UnixSocket& socket) {
    if (socket.name.empty() || is_abstract(socket.name)) return {};
    // An accepted connection only carries the name of the listener; its file may be long gone.
    const bool shared = socket.state == TCP_ESTABLISHED && socket.type != SOCK_DGRAM;
    const bool relative = socket.name.front() != '/';
    if (relative) {
        socket.directory =
            TRY(os::readlinkat(os::kCwd, fmt::format("/proc/{}/cwd", holder.pid.value)));
    }
    const std::string bound_at = relative ? socket.directory + "/" + socket.name : socket.name;
    auto status = file_at(root + bound_at, answer);
    if (!status && !shared) {
        socket.path = find_beside(root, bound_at, answer);
        if (!socket.path.empty()) status = file_at(root + socket.path, answer);
    }
    if (!status && shared) return {};
    if (!status) {
        return refuse(
            holder,
            fmt::format("a unix socket bound to {}, which was removed or replaced", bound_at));
    }
    socket.file_mode = status->st_mode;
    socket.file_uid = status->st_uid;
    socket.file_gid = status->st_gid;
    return {};
}

std::string name_of(const os::SocketAddress& address) {
    constexpr socklen_t kUnnamed = offsetof(sockaddr_un, sun_path);
    if (address.size <= kUnnamed) return {};
    const auto& plain = os::address_as<sockaddr_un>(address);
    std::string name(plain.sun_path, address.size - kUnnamed);
    if (!is_abstract(name)) name.resize(::strnlen(name.data(), name.size()));
    return name;
}

// What was queued is sent again by the peer, or by nobody in particular. So where whoever reads it
// is told the sender, it has to be read first.
Result<> read_queue(int fd, const Holder& holder, UnixReading& reading) {
    UnixSocket& socket = reading.socket;
    for (QueuedMessage& message : TRY(peek_queue(fd, socket.type, holder, "a unix socket"))) {
        if (name_of(message.sender) != socket.peer_name && socket.type == SOCK_DGRAM) {
            reading.busy = fmt::format("{} is a unix socket with an unread datagram of {}",
                                       holder.text(), shown(name_of(message.sender)));
        }
        for (os::UniqueFd& sent : message.rights) {
            reading.in_flight.emplace_back(socket.receive_queue.size(), std::move(sent));
        }
        socket.receive_queue.push_back({.content = std::move(message.content), .rights = {}});
    }
    const bool told = socket.options.pass_credentials || socket.options.timestamp ||
                      !arrival_option(socket.options.plain).empty();
    if (told && !socket.receive_queue.empty()) {
        reading.busy = fmt::format(
            "{} is a unix socket that asks for the senders' credentials or "
            "times, with unread messages",
            holder.text());
    }
    return {};
}

// Another process's: by its name alone.
bool can_be_reached(const UnixSocket& socket) {
    return !socket.peer_name.empty() && socket.type == SOCK_DGRAM;
}

bool may_have_data(const DiagAnswer& answer, const UnixSocket& socket) {
    return socket.state != TCP_LISTEN && (answer.receive_queue > 0 || socket.type == SOCK_DGRAM);
}

}  // namespace

Result<UnixReader> UnixReader::open(const std::string& root) {
    return UnixReader(TRY(SockDiag::open()), root);
}

Result<UnixReading> UnixReader::read(int fd, const Holder& holder, const SocketKind& kind,
                                     std::uint32_t inode, bool with_queue,
                                     PlainOptionReader& plain) {
    DiagAnswer answer = TRY(ask(diag_, inode));
    UnixReading reading;
    reading.pending = std::move(answer.pending);
    UnixSocket& socket = reading.socket;
    socket.inode = inode;
    socket.type = kind.type;
    socket.state = answer.state;
    socket.name = answer.name;
    socket.peer_inode = answer.peer_inode;
    socket.shutdown = answer.shutdown;
    socket.options = TRY(read_socket_options(fd, kind));
    socket.options.filter = TRY(read_socket_filter(fd, holder));
    socket.options.plain = TRY(plain.read(fd, kind, socket.state == TCP_LISTEN, holder));
    TRY(read_file_of_name(holder, answer, root_, socket));
    if (socket.state == TCP_LISTEN) {
        socket.backlog = answer.send_queue;
        const auto owner = TRY(os::getsockopt<ucred>(fd, SOL_SOCKET, SO_PEERCRED));
        socket.listener = {.pid = owner.pid, .uid = owner.uid, .gid = owner.gid};
        if (answer.receive_queue > 0) {
            reading.busy = fmt::format("{}: {} unix connections were not accepted yet",
                                       holder.text(), answer.receive_queue);
        }
    }
    if (const auto peer = os::getpeername(fd); peer && socket.peer_inode != 0) {
        socket.peer_name = name_of(*peer);
    }
    reading.has_unread = socket.state != TCP_LISTEN && answer.receive_queue > 0;
    if (with_queue && may_have_data(answer, socket)) TRY(read_queue(fd, holder, reading));
    return reading;
}

std::vector<HeldUnixSocket> find_strangers(const std::vector<HeldUnixSocket>& sockets,
                                           const std::vector<std::uint32_t>& pending,
                                           bool external) {
    std::vector<std::uint32_t> inodes;
    for (const HeldUnixSocket& held : sockets) inodes.push_back(held.socket->inode);
    std::ranges::sort(inodes);
    std::vector<HeldUnixSocket> strangers;
    for (const HeldUnixSocket& held : sockets) {
        const UnixSocket& socket = *held.socket;
        if (socket.peer_inode == 0 || std::ranges::binary_search(inodes, socket.peer_inode))
            continue;
        if (std::ranges::find(pending, socket.inode) != pending.end()) continue;
        if (external && can_be_reached(socket)) continue;
        strangers.push_back(held);
    }
    return strangers;
}

std::unexpected<Error> refuse_stranger(const HeldUnixSocket& held) {
    const UnixSocket& socket = *held.socket;
    return refuse(
        held.holder,
        fmt::format("a unix socket whose peer ({}) is outside the tree: {}",
                    socket.peer_name.empty() ? "unnamed" : shown(socket.peer_name),
                    can_be_reached(socket) ? "close it, or use --ext-unix-sk" : "close it"));
}

}  // namespace ferry::resources
