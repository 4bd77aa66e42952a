#include "resources/inet_socket.h"

#include <fmt/format.h>
#include <linux/inet_diag.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "os/description.h"
#include "os/endpoint.h"
#include "os/socket.h"
#include "resources/dead_connection.h"
#include "resources/device_options.h"
#include "resources/ip_packet.h"
#include "resources/message_queue.h"
#include "resources/network_device.h"
#include "resources/raw_socket.h"
#include "resources/sock_diag.h"
#include "resources/socket_filter.h"

namespace ferry::resources {
namespace {

using model::InetSocket;

constexpr int kTcpUlp = 31, kTcpAoInfo = 40;  // linux/tcp.h

// Header options are bytes, not a number (IP_OPTIONS, RFC 3542).
Result<> check_header_options(int fd, const Holder& holder, int family) {
    const auto check = [&](int level, int option) -> Result<> {
        std::array<std::byte, 256> value = {};
        if (TRY(os::getsockopt_bytes(fd, level, option, value)) == 0) return {};
        return refuse(holder, "a socket that sends IP options, which are not carried: close it");
    };
    if (family == AF_INET) return check(IPPROTO_IP, IP_OPTIONS);
    for (const int option : {IPV6_HOPOPTS, IPV6_RTHDRDSTOPTS, IPV6_RTHDR, IPV6_DSTOPTS}) {
        TRY(check(IPPROTO_IPV6, option));
    }
    return {};
}

// TCP-AO (RFC 5925, Linux 6.7): its keys and sequence number extensions. And a listener's own key
// for cookies (TCP_FASTOPEN_KEY).
Result<> check_keys(int fd, const Holder& holder) {
    std::array<std::byte, 128> value = {};
    if (os::getsockopt_bytes(fd, IPPROTO_TCP, kTcpAoInfo, value)) {
        return refuse(holder, "a TCP socket with keys of TCP-AO, which are not carried: close it");
    }
    const auto size = os::getsockopt_bytes(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, value);
    if (!size || *size == 0) return {};
    return refuse(holder,
                  "a socket with TCP_FASTOPEN_KEY, which is not carried: leave it to the "
                  "host (net.ipv4.tcp_fastopen_key)");
}

Result<> check_upper_layers(int fd, const Holder& holder, const SocketKind& kind) {
    TRY(check_header_options(fd, holder, kind.family));
    if (kind.protocol != IPPROTO_TCP) return {};
    TRY(check_keys(fd, holder));
    std::array<std::byte, 16> name = {};
    const auto size = os::getsockopt_bytes(fd, IPPROTO_TCP, kTcpUlp, name);
    if (size && *size != 0) {
        return refuse(holder,
                      fmt::format("a TCP socket with the upper layer protocol '{}', which is "
                                  "not carried: close it",
                                  reinterpret_cast<const char*>(name.data())));
    }
    return {};
}

Result<> read_names(int fd, InetSocket& socket) {
    const InetEndpoint source = TRY(to_endpoint(TRY(os::getsockname(fd))));
    socket.source = source.address;
    socket.source_port = source.port;
    const auto peer = os::getpeername(fd);
    if (!peer) return {};  // ENOTCONN
    const InetEndpoint destination = TRY(to_endpoint(*peer));
    socket.destination = destination.address;
    socket.destination_port = destination.port;
    return {};
}

Result<> read_address_options(int fd, InetSocket& socket) {
    if (socket.family == AF_INET) {
        socket.free_bind = TRY(os::getsockopt<int>(fd, IPPROTO_IP, IP_FREEBIND)) != 0;
        socket.transparent = TRY(os::getsockopt<int>(fd, IPPROTO_IP, IP_TRANSPARENT)) != 0;
        return {};
    }
    socket.ipv6_only = TRY(os::getsockopt<int>(fd, IPPROTO_IPV6, IPV6_V6ONLY)) != 0;
    socket.free_bind = TRY(os::getsockopt<int>(fd, IPPROTO_IPV6, IPV6_FREEBIND)) != 0;
    socket.transparent = TRY(os::getsockopt<int>(fd, IPPROTO_IPV6, IPV6_TRANSPARENT)) != 0;
    return {};
}

// An error that waits (SO_ERROR). Reading it would take it away.
Result<bool> is_in_error(int fd) {
    std::array<pollfd, 1> polled = {{{.fd = fd, .events = 0, .revents = 0}}};
    TRY(os::poll(polled, 0));
    return (polled[0].revents & POLLERR) != 0;
}

// shutdown(SHUT_RD) and the end of a dead connection show nowhere but in poll(2).
Result<bool> is_read_side_shut(int fd) {
    std::array<pollfd, 1> polled = {{{.fd = fd, .events = POLLRDHUP, .revents = 0}}};
    TRY(os::poll(polled, 0));
    return (polled[0].revents & POLLRDHUP) != 0;
}

Result<> read_closed(int fd, const Holder& holder, InetReading& reading) {
    int unread = 0;
    TRY(os::ioctl(fd, SIOCINQ, &unread));
    if (unread > 0) {
        reading.busy = fmt::format("{} is a closed TCP connection with unread data", holder.text());
    }
    reading.socket.error_unread = TRY(is_in_error(fd));
    if (TRY(is_read_side_shut(fd))) {
        // Dead: only reading its end and closing are left to do. Its port may be another's by now.
        reading.socket.shutdown = 3;
        reading.socket.source_port = 0;
        reading.socket.source = {};
    }
    return {};
}

Result<> read_tcp(int fd, const Holder& holder, bool established_too, InetReading& reading) {
    InetSocket& socket = reading.socket;
    const tcp_info info = TRY(tcp_info_of(fd));
    socket.state = info.tcpi_state;
    if (socket.state == TCP_CLOSE) return read_closed(fd, holder, reading);
    if (socket.state == TCP_LISTEN) {
        socket.backlog =
            info.tcpi_sacked;  // of a listening socket: the limit, and below the length
        if (info.tcpi_unacked != 0) {
            reading.busy = fmt::format("{}: {} connections were not accepted yet", holder.text(),
                                       info.tcpi_unacked);
        }
        return {};
    }
    if (!has_peer(socket.state)) {
        reading.busy = fmt::format("{}: TCP handshake under way", holder.text());
        return {};
    }
    if (!established_too) {
        return refuse(holder, fmt::format("a TCP connection (local port {}): use --tcp-established",
                                          socket.source_port));
    }
    reading.needs_repair = true;
    if (has_sent_fin(socket.state)) socket.shutdown |= 2;
    if (has_received_fin(socket.state) || TRY(is_read_side_shut(fd))) socket.shutdown |= 1;
    return {};
}

bool is_multicast(const InetSocket& socket) {
    const std::uint8_t first = socket.source.s6_addr[0];
    return socket.family == AF_INET6 ? first == 0xff : IN_MULTICAST(std::uint32_t{first} << 24);
}

// Why unread datagrams cannot be given back as they came; empty if they can.
std::string why_not_given_back(const InetSocket& socket, bool in_error) {
    // It would be taken by looking at the queue.
    if (in_error) return "in error";
    // What is given back comes through loopback, and now.
    if (!socket.options.bound_device.empty()) return "of one device";
    if (is_multicast(socket)) return "bound to a multicast group";
    if (socket.options.timestamp) return "with SO_TIMESTAMP";
    const std::string option = arrival_option(socket.options.plain);
    return option.empty() ? option : "with " + option;
}

// An error without datagrams is let go: it says that a datagram was lost, which nobody may rely on.
Result<> read_datagrams(int fd, const Holder& holder, InetReading& reading) {
    std::array<pollfd, 1> polled = {{{.fd = fd, .events = POLLIN, .revents = 0}}};
    TRY(os::poll(polled, 0));
    if ((polled[0].revents & POLLIN) == 0) return {};
    InetSocket& socket = reading.socket;
    const std::string reason = why_not_given_back(socket, (polled[0].revents & POLLERR) != 0);
    if (!reason.empty()) {
        reading.busy =
            fmt::format("{} is a UDP socket {} with unread datagrams", holder.text(), reason);
        return {};
    }
    for (QueuedMessage& message : TRY(peek_queue(fd, SOCK_DGRAM, holder, "a UDP socket"))) {
        const InetEndpoint sender = TRY(to_endpoint(message.sender));
        socket.datagrams.push_back({.source = sender.address,
                                    .source_port = sender.port,
                                    .content = std::move(message.content)});
    }
    return {};
}

Result<> read_udp(int fd, const Holder& holder, bool with_queue, InetReading& reading) {
    InetSocket& socket = reading.socket;
    socket.state = socket.destination_port != 0 ? TCP_ESTABLISHED : TCP_CLOSE;
    if (!with_queue) return {};
    // Held together by UDP_CORK or MSG_MORE, or on its way out.
    int unsent = 0;
    TRY(os::ioctl(fd, SIOCOUTQ, &unsent));
    if (unsent > 0) {
        reading.busy =
            fmt::format("{} is a UDP socket with a datagram that is not sent yet", holder.text());
        return {};
    }
    return read_datagrams(fd, holder, reading);
}

// What waits to be read is lost, as a packet socket's.
Result<> read_raw(int fd, const SocketKind& kind, InetSocket& socket) {
    const auto peer = TRY(raw_peer(fd, kind.family));
    if (peer) {
        socket.destination = *peer;
        socket.state = TCP_ESTABLISHED;
    }
    socket.icmp_filter = TRY(read_icmp6_filter(fd, kind));
    return {};
}

bool is_carried(const SocketKind& kind) {
    return (kind.type == SOCK_STREAM && kind.protocol == IPPROTO_TCP) ||
           (kind.type == SOCK_DGRAM && kind.protocol == IPPROTO_UDP) || is_raw(kind);
}

Result<> check_kind(const Holder& holder, const SocketKind& kind) {
    constexpr int kMptcp = 262;  // IPPROTO_MPTCP
    if (kind.type == SOCK_STREAM && kind.protocol == kMptcp) {
        return refuse(holder, "an MPTCP socket, which is not carried: use plain TCP");
    }
    if (is_carried(kind)) return {};
    return refuse(holder, fmt::format("an IP socket of type {}, protocol {}, which is not carried",
                                      kind.type, kind.protocol));
}

Result<> bind_plain(int fd, const InetSocket& socket) {
    // Of raw sockets it is the protocol.
    if (socket.type == SOCK_RAW ? is_any({.family = socket.family, .address = socket.source})
                                : socket.source_port == 0) {
        return {};
    }
    const InetEndpoint source = {socket.family, socket.source, socket.source_port,
                                 TRY(scope_of(fd, socket))};
    return with_context(os::bind(fd, to_address(source)),
                        fmt::format("port {}", socket.source_port));
}

Result<> set_flag(int fd, int level, int option, bool on) {
    const int value = on ? 1 : 0;
    return os::setsockopt(fd, level, option, value);
}

// What has to be there before bind(). The address may come up only later (a transparent socket
// binds and finds routes regardless): allowed for until settle_plain(). Others of the same port may
// be there already: allowed for until InetOpener::settle().
Result<> before_bind(int fd, const InetSocket& socket, const PortSharing& sharing) {
    const bool v6 = socket.family == AF_INET6;
    const int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
    // Raw sockets count as bound, by their protocol, and are always of IPv6 alone.
    if (v6 && socket.type != SOCK_RAW) {
        TRY(set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, socket.ipv6_only));
    }
    TRY(set_flag(fd, level, v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, true));
    if (socket.free_bind) TRY(set_flag(fd, level, v6 ? IPV6_FREEBIND : IP_FREEBIND, true));
    if (sharing.reuse_port) TRY(set_flag(fd, SOL_SOCKET, SO_REUSEPORT, true));
    if (!socket.options.bound_device.empty()) {
        TRY(os::setsockopt_bytes(fd, SOL_SOCKET, SO_BINDTODEVICE,
                                 os::as_bytes(socket.options.bound_device)));
    }
    // UDP sockets with SO_REUSEADDR could bind over a foreign socket of the same port.
    const bool reuse = socket.type == SOCK_STREAM || sharing.reuse_address;
    return set_flag(fd, SOL_SOCKET, SO_REUSEADDR, reuse);
}

Result<> settle_plain(int fd, const InetSocket& socket) {
    const bool v6 = socket.family == AF_INET6;
    if (socket.transparent) return {};
    return set_flag(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT,
                    false);
}

// shutdown(2) of an unconnected socket says ENOTCONN, and still marks both directions as shut
// (net/ipv4/af_inet.c, inet_shutdown): reads give end of file, writes EPIPE.
Result<> shut_down_unconnected(int fd, int shutdown) {
    if (shutdown == 0) return {};
    const auto shut = os::shutdown(fd, shutdown - 1);
    if (shut || shut.error().code() == ENOTCONN) return {};
    return fail(shut.error());
}

Result<os::UniqueFd> open_dead(const InetSocket& socket, const model::SocketOptions& fresh) {
    os::UniqueFd opened = TRY(open_reset_connection(socket.family));
    const SocketKind kind = {socket.family, socket.type, socket.protocol};
    TRY(apply_buffer_sizes(opened.get(), socket.options, fresh));
    TRY(apply_socket_options(opened.get(), kind, socket.options, fresh));
    TRY(apply_buffer_locks(opened.get(), socket.options));
    return opened;
}

InetEndpoint loopback(int family, std::uint16_t port) {
    InetEndpoint endpoint = {.family = family, .address = {}, .port = port};
    if (family == AF_INET6) {
        endpoint.address = in6addr_loopback;
    } else {
        const in_addr_t address = htonl(INADDR_LOOPBACK);
        std::memcpy(&endpoint.address, &address, sizeof(address));
    }
    return endpoint;
}

Result<PortsByFamily> ports_of_handshakes(const std::set<int>& families) {
    PortsByFamily found;
    SockDiag diag = TRY(SockDiag::open());
    for (const int family : families) {
        inet_diag_req_v2 request = {};
        request.sdiag_family = static_cast<std::uint8_t>(family);
        request.sdiag_protocol = IPPROTO_TCP;
        request.idiag_states = 1u << TCP_SYN_RECV;
        std::vector<std::uint16_t>& ports = found[family];
        TRY(diag.ask(std::as_bytes(std::span(&request, 1)), true,
                     [&](std::span<const std::byte> answer) {
                         inet_diag_msg message = {};
                         if (copy_front(answer, message)) {
                             ports.push_back(ntohs(message.id.idiag_sport));
                         }
                     }));
    }
    return found;
}

}  // namespace

Result<InetReading> read_inet_socket(int fd, const Holder& holder, const SocketKind& kind,
                                     const InetOptions& options, PlainOptionReader& plain,
                                     const MemberReader& groups) {
    TRY(check_kind(holder, kind));
    if (options.thorough) TRY(check_upper_layers(fd, holder, kind));
    InetReading reading;
    InetSocket& socket = reading.socket;
    socket.family = kind.family;
    socket.type = kind.type;
    socket.protocol = kind.protocol;
    TRY(read_names(fd, socket));
    TRY(read_address_options(fd, socket));
    socket.options = TRY(read_socket_options(fd, kind));
    socket.options.filter = TRY(read_socket_filter(fd, holder));
    socket.device_options = TRY(read_device_options(fd, kind, holder));
    if (kind.protocol == IPPROTO_TCP) {
        TRY(read_tcp(fd, holder, options.tcp_established, reading));
    }
    const bool listening = socket.state == TCP_LISTEN;
    socket.options.plain = TRY(plain.read(fd, kind, listening, holder));
    if (kind.type != SOCK_STREAM) socket.groups = TRY(groups.read(fd, kind.family));
    if (kind.protocol == IPPROTO_UDP) TRY(read_udp(fd, holder, !options.thorough, reading));
    if (kind.type == SOCK_RAW) TRY(read_raw(fd, kind, socket));
    return reading;
}

void HandshakeSearch::start(std::set<int> families) {
    families_ = std::move(families);
    if (families_.empty()) return;
    try {
        found_ = std::async(std::launch::async, ports_of_handshakes, families_);
    } catch (const std::system_error&) {
        // No thread to be had: concerns() looks itself.
        found_ = {};
    }
}

Result<bool> HandshakeSearch::concerns(const PortsByFamily& listening) {
    std::set<int> missing;
    for (const auto& [family, ports] : listening) {
        if (!found_.valid() || !families_.contains(family)) missing.insert(family);
    }
    PortsByFamily handshakes = TRY(ports_of_handshakes(missing));
    if (found_.valid()) handshakes.merge(TRY(found_.get()));
    // An IPv4 handshake with an IPv6 listener counts as IPv6 (inet_reqsk_alloc, ireq_family).
    for (const auto& [family, ports] : listening) {
        for (const std::uint16_t port : handshakes[family]) {
            if (std::ranges::find(ports, port) != ports.end()) return true;
        }
    }
    return false;
}

void InetOpener::announce(const InetSocket& socket) {
    PortSharing& sharing = ports_[{socket.protocol, socket.source_port}];
    sharing.reuse_port |= socket.options.reuse_port;
    sharing.reuse_address |= socket.options.reuse_address;
}

Result<> InetOpener::settle() {
    for (const Unsettled& socket : std::exchange(unsettled_, {})) {
        TRY(set_flag(socket.fd, SOL_SOCKET, SO_REUSEADDR, socket.own.reuse_address));
        TRY(set_flag(socket.fd, SOL_SOCKET, SO_REUSEPORT, socket.own.reuse_port));
    }
    return {};
}

Result<os::UniqueFd> InetOpener::open_plain(const InetSocket& socket) {
    const SocketKind kind = {socket.family, socket.type, socket.protocol};
    if ((kind.family != AF_INET && kind.family != AF_INET6) || !is_carried(kind)) {
        return fail(Error::corrupt(fmt::format("an IP socket of family {}, type {}, protocol {}",
                                               kind.family, kind.type, kind.protocol)));
    }
    const model::SocketOptions& fresh = *TRY(fresh_.of(kind));
    if (socket.error_unread) return open_dead(socket, fresh);
    os::UniqueFd opened = TRY(os::socket(kind.family, kind.type, kind.protocol));
    const int fd = opened.get();
    TRY(before_bind(fd, socket, ports_[{socket.protocol, socket.source_port}]));
    TRY(apply_buffer_sizes(fd, socket.options, fresh));
    TRY(bind_plain(fd, socket));
    TRY(apply_socket_options(fd, kind, socket.options, fresh));
    TRY(apply_buffer_locks(fd, socket.options));
    TRY(apply_device_options(fd, socket.device_options));
    TRY(join_groups(fd, socket.groups));
    if (!socket.icmp_filter.empty()) TRY(set_icmp6_filter(fd, socket.icmp_filter));
    if (kind.type != SOCK_STREAM && socket.state == TCP_ESTABLISHED) {
        const InetEndpoint peer = {socket.family, socket.destination, socket.destination_port,
                                   TRY(scope_of(fd, socket))};
        TRY(os::connect(fd, to_address(peer)));
    }
    if (socket.state == TCP_LISTEN && kind.protocol == IPPROTO_TCP) {
        TRY(os::listen(fd, static_cast<int>(socket.backlog)));
    } else {
        TRY(shut_down_unconnected(fd, socket.shutdown));
    }
    TRY(settle_plain(fd, socket));
    unsettled_.push_back({.fd = fd,
                          .own = {.reuse_port = socket.options.reuse_port,
                                  .reuse_address = socket.options.reuse_address}});
    return opened;
}

Result<> deliver_datagrams(const InetSocket& socket, std::uint32_t mark) {
    for (const model::Datagram& datagram : socket.datagrams) {
        PacketEnds ends = {
            .source = on_the_wire({.family = socket.family,
                                   .address = datagram.source,
                                   .port = datagram.source_port}),
            .destination = on_the_wire(
                {.family = socket.family, .address = socket.source, .port = socket.source_port})};
        if (is_any(ends.destination) || ends.destination.family != ends.source.family) {
            ends.destination = loopback(ends.source.family, socket.source_port);
        }
        const auto packet = build_datagram(ends, datagram.content);
        TRY(with_context(inject_packet(ends.destination, packet, mark), "an unread datagram"));
    }
    return {};
}

Result<OpenedConnection> InetOpener::open_connection(const InetSocket& socket) {
    const SocketKind kind = {socket.family, SOCK_STREAM, IPPROTO_TCP};
    const model::SocketOptions& fresh = *TRY(fresh_.of(kind));
    OpenedConnection opened =
        TRY(with_context(open_tcp_connection(socket, fresh),
                         fmt::format("TCP connection of local port {}", socket.source_port)));
    TRY(apply_device_options(opened.fd.get(), socket.device_options));
    return opened;
}

}  // namespace ferry::resources
