#include "resources/netlink_socket.h"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <sstream>

#include "os/endpoint.h"
#include "os/socket.h"
#include "resources/socket_filter.h"
#include "resources/socket_options.h"

namespace ferry::resources {
namespace {

using model::NetlinkSocket;

constexpr std::array kCarried = {NETLINK_ROUTE,  NETLINK_USERSOCK,       NETLINK_SOCK_DIAG,
                                 NETLINK_XFRM,   NETLINK_KOBJECT_UEVENT, NETLINK_AUDIT,
                                 NETLINK_GENERIC};
constexpr std::size_t kGroupWordsMax = 64;

// For options, all netlink sockets are alike.
SocketKind options_kind(int type) {
    return {.family = AF_NETLINK, .type = type, .protocol = 0};
}

// Bytes of messages that were not read.
Result<std::uint32_t> queued(int fd) {
    std::array<std::uint32_t, SK_MEMINFO_VARS> figures = {};
    TRY(os::getsockopt_bytes(fd, SOL_SOCKET, SO_MEMINFO,
                             std::as_writable_bytes(std::span(figures))));
    return figures[SK_MEMINFO_RMEM_ALLOC];
}

// An answer of several parts is under way, of which the kernel makes the next when one is read. In
// the list are those that have a port.
Result<bool> is_answering(std::uint32_t inode) {
    // Of the thread: it may be in another namespace than we are.
    std::istringstream lines(TRY(os::read_file("/proc/thread-self/net/netlink")));
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
        std::istringstream words(line);
        std::string word;
        std::uint64_t received = 0, sent = 0, answering = 0, locks = 0, drops = 0, number = 0;
        for (int column = 0; column < 4; ++column) words >> word;
        words >> received >> sent >> answering >> locks >> drops >> number;
        if (!words) return fail(Error::corrupt("/proc/net/netlink: " + line));
        if (number == inode) return answering != 0;
    }
    return false;
}

Result<std::vector<std::uint32_t>> groups_of(int fd) {
    std::vector<std::uint32_t> words(kGroupWordsMax);
    const std::size_t bytes = TRY(os::getsockopt_bytes(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS,
                                                       std::as_writable_bytes(std::span(words))));
    if (bytes > words.size() * sizeof(words[0])) {
        return fail(Error::limit("a netlink socket of more than 2048 groups"));
    }
    words.resize(bytes / sizeof(words[0]));
    while (!words.empty() && words.back() == 0) words.pop_back();
    return words;
}

sockaddr_nl address_of(std::uint32_t port, std::uint32_t groups) {
    sockaddr_nl address = {};
    address.nl_family = AF_NETLINK;
    address.nl_pid = port;
    address.nl_groups = groups;
    return address;
}

}  // namespace

Result<NetlinkReading> read_netlink_socket(int fd, const Holder& holder, const SocketKind& kind,
                                           PlainOptionReader& plain) {
    if (std::ranges::find(kCarried, kind.protocol) == kCarried.end()) {
        return refuse(holder, fmt::format("a netlink socket of protocol {}, which is not carried: "
                                          "close it",
                                          kind.protocol));
    }
    NetlinkReading reading;
    NetlinkSocket& socket = reading.socket;
    socket.inode = static_cast<std::uint32_t>(TRY(os::fstat(fd)).st_ino);
    socket.type = kind.type;
    socket.protocol = kind.protocol;
    socket.port = os::address_as<sockaddr_nl>(TRY(os::getsockname(fd))).nl_pid;
    const os::SocketAddress peer = TRY(os::getpeername(fd));
    socket.peer = os::address_as<sockaddr_nl>(peer).nl_pid;
    socket.peer_groups = os::address_as<sockaddr_nl>(peer).nl_groups;
    socket.groups = TRY(groups_of(fd));
    socket.options = TRY(read_socket_options(fd, options_kind(kind.type)));
    socket.options.filter = TRY(read_socket_filter(fd, holder));
    socket.options.plain = TRY(plain.read(fd, options_kind(kind.type), false, holder));
    if (TRY(queued(fd)) != 0 || TRY(is_answering(socket.inode))) {
        reading.busy = fmt::format("{}: unread netlink messages", holder.text());
    }
    return reading;
}

Result<os::UniqueFd> open_netlink_socket(const NetlinkSocket& socket) {
    os::UniqueFd opened = TRY(os::socket(AF_NETLINK, socket.type, socket.protocol));
    const int fd = opened.get();
    TRY(apply_options_at_once(fd, options_kind(socket.type), socket.options));
    if (socket.port != 0) {
        const auto bound = os::bind(fd, os::make_address(address_of(socket.port, 0)));
        if (!bound && bound.error().code() == EADDRINUSE) {
            return fail(Error::unsupported(
                fmt::format("netlink port {} is somebody else's here", socket.port)));
        }
        TRY(bound);
    }
    for (std::size_t word = 0; word < socket.groups.size(); ++word) {
        for (int bit = 0; bit < 32; ++bit) {
            if ((socket.groups[word] >> bit & 1) == 0) continue;
            const int group = static_cast<int>(word) * 32 + bit + 1;
            TRY(with_context(os::setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group),
                             fmt::format("netlink group {}", group)));
        }
    }
    if (socket.peer != 0 || socket.peer_groups != 0) {
        TRY(os::connect(fd, os::make_address(address_of(socket.peer, socket.peer_groups))));
    }
    return opened;
}

}  // namespace ferry::resources
