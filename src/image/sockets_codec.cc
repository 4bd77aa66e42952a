#include "image/sockets_codec.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/filter.h>
#include <linux/tcp.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/limits.h"
#include "image/multicast_codec.h"
#include "image/records.h"

namespace ferry::image {

namespace {

constexpr std::int64_t kMicrosPerSecond = 1'000'000;
// SO_BUF_LOCK's bits (socket(7)).
constexpr std::uint32_t kSendLocked = 1, kReceiveLocked = 2;
// The initial hop limit; another one was set by IP_TTL.
constexpr std::uint32_t kDefaultTtl = 64;
constexpr std::size_t kUnixPathMax = 108;
constexpr std::size_t kDeviceNameMax = 16, kCongestionNameMax = 16;
constexpr std::uint32_t kWindowScaleMax = 14;

// An instruction of a packet filter: CRIU has its code in the highest bits, then the two jumps,
// then the operand; the model has it as it lies in memory.
std::uint64_t instruction_to_wire(std::uint64_t word) {
    const auto it = std::bit_cast<sock_filter>(word);
    return std::uint64_t{it.code} << 48 | std::uint64_t{it.jt} << 40 | std::uint64_t{it.jf} << 32 |
           it.k;
}

std::uint64_t instruction_from_wire(std::uint64_t wire) {
    return std::bit_cast<std::uint64_t>(sock_filter{.code = static_cast<std::uint16_t>(wire >> 48),
                                                    .jt = static_cast<std::uint8_t>(wire >> 40),
                                                    .jf = static_cast<std::uint8_t>(wire >> 32),
                                                    .k = static_cast<std::uint32_t>(wire)});
}

std::string connection_name(std::uint32_t inode) {
    return fmt::format("tcp-stream-{:x}.img", inode);
}

}  // namespace

void options_to_wire(const model::SocketOptions& o, bool is_unix, wire::SkOpts& w) {
    w.set_so_sndbuf(o.send_buffer);
    w.set_so_rcvbuf(o.receive_buffer);
    w.set_so_snd_tmo_sec(static_cast<std::uint64_t>(o.send_timeout_us / kMicrosPerSecond));
    w.set_so_snd_tmo_usec(static_cast<std::uint64_t>(o.send_timeout_us % kMicrosPerSecond));
    w.set_so_rcv_tmo_sec(static_cast<std::uint64_t>(o.receive_timeout_us / kMicrosPerSecond));
    w.set_so_rcv_tmo_usec(static_cast<std::uint64_t>(o.receive_timeout_us % kMicrosPerSecond));
    w.set_so_buf_lock((o.buffers_locked_send ? kSendLocked : 0) |
                      (o.buffers_locked_receive ? kReceiveLocked : 0));
    w.set_so_priority(o.priority);
    w.set_so_rcvlowat(o.receive_low_water);
    if (o.mark != 0) w.set_so_mark(o.mark);
    w.set_reuseaddr(o.reuse_address);
    w.set_so_reuseport(o.reuse_port);
    if (is_unix || o.pass_credentials) w.set_so_passcred(o.pass_credentials);
    if (is_unix || o.pass_security) w.set_so_passsec(o.pass_security);
    w.set_so_dontroute(o.dont_route);
    w.set_so_no_check(o.no_check);
    w.set_so_broadcast(o.broadcast);
    w.set_so_keepalive(o.keep_alive);
    w.set_so_oobinline(o.oob_inline ? 1 : 0);
    if (o.linger && o.linger->first) w.set_so_linger(o.linger->second);
    if (!o.bound_device.empty()) w.set_so_bound_dev(o.bound_device);
    for (const std::uint64_t word : o.filter) w.add_so_filter(instruction_to_wire(word));
}

bool options_to_extra(const model::SocketOptions& o, wire::FerrySocket& extra) {
    if (o.defer_accept) {
        extra.set_has_defer_accept(true);
        extra.set_defer_accept(*o.defer_accept);
    }
    if (o.user_timeout_ms) {
        extra.set_has_user_timeout(true);
        extra.set_user_timeout_ms(*o.user_timeout_ms);
    }
    extra.set_congestion_control(o.congestion_control);
    extra.set_timestamp(o.timestamp);
    extra.set_user(o.user);
    for (const model::PlainOption& option : o.plain) {
        wire::FerrySocketOption& record = *extra.add_options();
        record.set_level(option.level);
        record.set_option(option.option);
        record.set_value(option.value);
    }
    return o.defer_accept || o.user_timeout_ms || !o.congestion_control.empty() || o.timestamp ||
           o.user != 0 || !o.plain.empty();
}

namespace {

Result<std::int64_t> timeout_from_wire(std::uint64_t seconds, std::uint64_t micros) {
    // The kernel caps SO_RCVTIMEO at what fits into jiffies; more is nonsense.
    if (micros >= static_cast<std::uint64_t>(kMicrosPerSecond) ||
        seconds > (std::uint64_t{1} << 40)) {
        return fail(Error::corrupt(fmt::format("a socket timeout of {} s {} us", seconds, micros)));
    }
    return static_cast<std::int64_t>(seconds) * kMicrosPerSecond +
           static_cast<std::int64_t>(micros);
}

}  // namespace

Result<model::SocketOptions> options_from_wire(const wire::SkOpts& w,
                                               const wire::FerrySocket& extra) {
    if (w.so_bound_dev().size() >= kDeviceNameMax ||
        extra.congestion_control().size() >= kCongestionNameMax) {
        return fail(Error::corrupt("a name in socket options"));
    }
    model::SocketOptions o;
    o.send_buffer = w.so_sndbuf();
    o.receive_buffer = w.so_rcvbuf();
    o.send_timeout_us = TRY(timeout_from_wire(w.so_snd_tmo_sec(), w.so_snd_tmo_usec()));
    o.receive_timeout_us = TRY(timeout_from_wire(w.so_rcv_tmo_sec(), w.so_rcv_tmo_usec()));
    o.buffers_locked_send = (w.so_buf_lock() & kSendLocked) != 0;
    o.buffers_locked_receive = (w.so_buf_lock() & kReceiveLocked) != 0;
    o.priority = w.so_priority();
    if (w.has_so_rcvlowat()) o.receive_low_water = w.so_rcvlowat();
    o.mark = w.so_mark();
    o.reuse_address = w.reuseaddr();
    o.reuse_port = w.so_reuseport();
    o.pass_credentials = w.so_passcred();
    o.pass_security = w.so_passsec();
    o.dont_route = w.so_dontroute();
    o.no_check = w.so_no_check();
    o.broadcast = w.so_broadcast();
    o.keep_alive = w.so_keepalive();
    o.oob_inline = w.so_oobinline() != 0;
    if (w.has_so_linger()) o.linger = {true, w.so_linger()};
    o.bound_device = w.so_bound_dev();
    if (w.tcp_keepcnt() != 0) o.keep_count = w.tcp_keepcnt();
    if (w.tcp_keepidle() != 0) o.keep_idle = w.tcp_keepidle();
    if (w.tcp_keepintvl() != 0) o.keep_interval = w.tcp_keepintvl();
    if (extra.has_defer_accept()) o.defer_accept = extra.defer_accept();
    if (extra.has_user_timeout()) o.user_timeout_ms = extra.user_timeout_ms();
    o.congestion_control = extra.congestion_control();
    constexpr int kFilterMax = 4096, kPlainMax = 256;  // BPF_MAXINSNS; far more than there are
    if (w.so_filter_size() > kFilterMax || extra.options_size() > kPlainMax) {
        return fail(Error::corrupt("a socket's filter or options"));
    }
    for (const std::uint64_t word : w.so_filter()) o.filter.push_back(instruction_from_wire(word));
    for (const wire::FerrySocketOption& record : extra.options()) {
        o.plain.push_back(
            {.level = record.level(), .option = record.option(), .value = record.value()});
    }
    o.timestamp = extra.timestamp();
    o.user = extra.user();
    return o;
}

namespace {

void tcp_options_to_wire(const model::SocketOptions& o, wire::TcpOpts& w) {
    if (o.cork) w.set_cork(true);
    if (o.no_delay) w.set_nodelay(true);
    if (o.keep_count) w.set_keepcnt(*o.keep_count);
    if (o.keep_idle) w.set_keepidle(*o.keep_idle);
    if (o.keep_interval) w.set_keepintvl(*o.keep_interval);
}

void tcp_options_from_wire(const wire::TcpOpts& w, model::SocketOptions& o) {
    o.cork = w.cork();
    o.no_delay = w.nodelay();
    if (w.keepcnt() != 0) o.keep_count = w.keepcnt();
    if (w.keepidle() != 0) o.keep_idle = w.keepidle();
    if (w.keepintvl() != 0) o.keep_interval = w.keepintvl();
}

std::size_t address_words(int family) {
    return family == AF_INET6 ? 4 : 1;
}

void address_to_wire(const in6_addr& address, int family,
                     google::protobuf::RepeatedField<std::uint32_t>& into) {
    into.Resize(static_cast<int>(address_words(family)), 0);
    std::memcpy(into.mutable_data(), &address, address_words(family) * sizeof(std::uint32_t));
}

Result<in6_addr> address_from_wire(const google::protobuf::RepeatedField<std::uint32_t>& from,
                                   int family) {
    in6_addr address = {};
    if (static_cast<std::size_t>(from.size()) != address_words(family)) {
        return fail(Error::corrupt(fmt::format("an address of {} words", from.size())));
    }
    std::memcpy(&address, from.data(), address_words(family) * sizeof(std::uint32_t));
    return address;
}

// Those options of IP that CRIU has fields for; of IPv6 only the first.
void ip_options_to_wire(const model::InetSocket& socket, wire::IpOpts& w) {
    const bool v6 = socket.family == AF_INET6;
    if (socket.free_bind) w.set_freebind(true);
    for (const model::PlainOption& o : socket.options.plain) {
        const bool v4_level = !v6 && o.level == IPPROTO_IP;
        const auto value = static_cast<std::uint32_t>(o.value);
        if (v6 && o.level == IPPROTO_IPV6 && o.option == IPV6_RECVPKTINFO) w.set_pktinfo(true);
        if (v4_level && o.option == IP_PKTINFO) w.set_pktinfo(true);
        if (v4_level && o.option == IP_TOS) w.set_tos(value);
        if (v4_level && o.option == IP_TTL) w.set_ttl(value);
    }
}

// Adds what an image has without ferry.json.
Result<> ip_options_from_wire(const wire::IpOpts& w, model::InetSocket& socket) {
    constexpr std::uint32_t kByteMax = 255;
    if (w.tos() > kByteMax || w.ttl() > kByteMax) return fail(Error::corrupt("options of IP"));
    std::vector<model::PlainOption>& plain = socket.options.plain;
    const bool v6 = socket.family == AF_INET6;
    const auto add = [&](int level, int option, std::uint32_t value) {
        const bool known = std::ranges::any_of(plain, [&](const model::PlainOption& o) {
            return o.level == level && o.option == option;
        });
        if (known) return;
        plain.push_back({.level = level, .option = option, .value = static_cast<int>(value)});
    };
    if (w.pktinfo() && v6) add(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    if (w.pktinfo() && !v6) add(IPPROTO_IP, IP_PKTINFO, 1);
    if (w.tos() != 0 && !v6) add(IPPROTO_IP, IP_TOS, w.tos());
    if (w.has_ttl() && w.ttl() != kDefaultTtl && !v6) add(IPPROTO_IP, IP_TTL, w.ttl());
    return {};
}

constexpr int kSolRaw = 255, kIcmpFilter = 1;  // linux/icmp.h

void raw_to_wire(const model::InetSocket& socket, wire::IpOptsRaw& w) {
    for (const model::PlainOption& o : socket.options.plain) {
        if (o.level == IPPROTO_IP && o.option == IP_HDRINCL) w.set_hdrincl(true);
        if (o.level == IPPROTO_IP && o.option == IP_NODEFRAG) w.set_nodefrag(true);
        if (o.level == kSolRaw && o.option == kIcmpFilter) {
            w.add_icmpv_filter(static_cast<std::uint32_t>(o.value));
        }
    }
    for (const std::uint32_t word : socket.icmp_filter) w.add_icmpv_filter(word);
}

// What an image has without ferry.json, and the filter of ICMPv6.
Result<> raw_from_wire(const wire::IpOptsRaw& w, model::InetSocket& socket) {
    constexpr int kWords6 = 8;
    std::vector<model::PlainOption>& plain = socket.options.plain;
    const auto add = [&](int level, int option, int value) {
        const bool known = std::ranges::any_of(plain, [&](const model::PlainOption& o) {
            return o.level == level && o.option == option;
        });
        if (!known) plain.push_back({.level = level, .option = option, .value = value});
    };
    const bool v6 = socket.family == AF_INET6;
    if (w.icmpv_filter_size() != 0 && w.icmpv_filter_size() != (v6 ? kWords6 : 1)) {
        return fail(Error::corrupt("the filter of a raw socket"));
    }
    // IPPROTO_RAW has it set from the beginning.
    if (w.hdrincl() && !v6 && socket.protocol != IPPROTO_RAW) add(IPPROTO_IP, IP_HDRINCL, 1);
    if (w.nodefrag() && !v6) add(IPPROTO_IP, IP_NODEFRAG, 1);
    if (v6) socket.icmp_filter.assign(w.icmpv_filter().begin(), w.icmpv_filter().end());
    if (!v6 && w.icmpv_filter_size() == 1 && w.icmpv_filter(0) != 0) {
        add(kSolRaw, kIcmpFilter, static_cast<int>(w.icmpv_filter(0)));
    }
    return {};
}

Result<int> shutdown_from_wire(std::uint32_t shutdown) {
    if (shutdown > 3) return fail(Error::corrupt(fmt::format("shutdown state {}", shutdown)));
    return static_cast<int>(shutdown);
}

void append(std::span<const std::byte> from, model::Bytes& into) {
    into.insert(into.end(), from.begin(), from.end());
}

void datagrams_to_extra(const std::vector<model::Datagram>& from, wire::FerrySocket& extra) {
    for (const model::Datagram& datagram : from) {
        wire::FerryDatagram& record = *extra.add_datagrams();
        record.set_source(&datagram.source, sizeof(datagram.source));
        record.set_port(datagram.source_port);
        record.set_content(datagram.content.data(), datagram.content.size());
    }
}

Result<std::vector<model::Datagram>> datagrams_from_extra(const wire::FerrySocket& extra) {
    constexpr std::size_t kContentMax = 65507;  // what an IP packet has room for
    std::vector<model::Datagram> datagrams;
    for (const wire::FerryDatagram& record : extra.datagrams()) {
        model::Datagram datagram;
        if (record.source().size() != sizeof(datagram.source) || record.port() > UINT16_MAX ||
            record.content().size() > kContentMax) {
            return fail(Error::corrupt("an unread datagram"));
        }
        std::memcpy(&datagram.source, record.source().data(), sizeof(datagram.source));
        datagram.source_port = static_cast<std::uint16_t>(record.port());
        const auto content = std::as_bytes(std::span(record.content()));
        datagram.content.assign(content.begin(), content.end());
        datagrams.push_back(std::move(datagram));
    }
    return datagrams;
}

}  // namespace

void owner_to_wire(const model::FileOwner& owner, wire::Fown& into) {
    into.set_uid(owner.uid);
    into.set_euid(owner.euid);
    into.set_signum(static_cast<std::uint32_t>(owner.signal));
    into.set_pid_type(static_cast<std::uint32_t>(owner.pid_type));
    into.set_pid(static_cast<std::uint32_t>(owner.pid));
}

Result<model::FileOwner> owner_from_wire(const wire::Fown& from) {
    if (from.signum() > 64 || from.pid_type() > 2 || from.pid() > limits::kTasksMax) {
        return fail(Error::corrupt(fmt::format("file owner {} (type {}, signal {})", from.pid(),
                                               from.pid_type(), from.signum())));
    }
    model::FileOwner owner;
    owner.uid = from.uid();
    owner.euid = from.euid();
    owner.signal = static_cast<int>(from.signum());
    owner.pid_type = static_cast<int>(from.pid_type());
    owner.pid = static_cast<pid_t>(from.pid());
    return owner;
}

// An address of one link: whoever binds or connects to it names the device (ipv6(7),
// sin6_scope_id).
bool is_of_one_link(const model::InetSocket& socket) {
    const auto local = [](const in6_addr& address) {
        return IN6_IS_ADDR_LINKLOCAL(&address) || IN6_IS_ADDR_MC_LINKLOCAL(&address);
    };
    return socket.family == AF_INET6 && !socket.options.bound_device.empty() &&
           (local(socket.source) || local(socket.destination));
}

Result<bool> inet_to_wire(const model::InetSocket& socket, wire::InetSk& into,
                          wire::FerrySocket& extra) {
    into.set_ino(socket.inode);
    into.set_family(static_cast<std::uint32_t>(socket.family));
    into.set_type(static_cast<std::uint32_t>(socket.type));
    into.set_proto(static_cast<std::uint32_t>(socket.protocol));
    into.set_state(static_cast<std::uint32_t>(socket.state));
    into.set_src_port(socket.source_port);
    into.set_dst_port(socket.destination_port);
    into.set_backlog(socket.backlog);
    address_to_wire(socket.source, socket.family, *into.mutable_src_addr());
    address_to_wire(socket.destination, socket.family, *into.mutable_dst_addr());
    options_to_wire(socket.options, false, *into.mutable_opts());
    if (socket.family == AF_INET6) into.set_v6only(socket.ipv6_only);
    ip_options_to_wire(socket, *into.mutable_ip_opts());
    if (socket.type == SOCK_RAW) raw_to_wire(socket, *into.mutable_ip_opts()->mutable_raw());
    if (is_of_one_link(socket)) into.set_ifname(socket.options.bound_device);
    if (socket.shutdown != 0) into.set_shutdown(static_cast<std::uint32_t>(socket.shutdown));
    tcp_options_to_wire(socket.options, *into.mutable_tcp_opts());
    extra.set_transparent(socket.transparent);
    const bool more = options_to_extra(socket.options, extra);
    const bool sent_lately = socket.tcp && socket.tcp->sent_lately;
    extra.set_sent_lately(sent_lately);
    extra.set_error_unread(socket.error_unread);
    datagrams_to_extra(socket.datagrams, extra);
    const bool has_devices = devices_to_extra(socket, extra);
    return more || has_devices || socket.error_unread || socket.transparent || sent_lately ||
           !socket.datagrams.empty();
}

Result<model::InetSocket> inet_from_wire(const wire::InetSk& from, const wire::FerrySocket& extra) {
    model::InetSocket socket;
    if (from.family() != AF_INET && from.family() != AF_INET6) {
        return fail(Error::corrupt(fmt::format("address family {}", from.family())));
    }
    const bool tcp = from.type() == SOCK_STREAM && from.proto() == IPPROTO_TCP;
    const bool udp = from.type() == SOCK_DGRAM && from.proto() == IPPROTO_UDP;
    const bool raw = from.type() == SOCK_RAW && from.proto() <= UINT8_MAX;
    if (!tcp && !udp && !raw) {
        return fail(Error::unsupported(
            fmt::format("a socket of type {}, protocol {}", from.type(), from.proto())));
    }
    if (from.src_port() > UINT16_MAX || from.dst_port() > UINT16_MAX || from.state() > 12) {
        return fail(Error::corrupt("a port or state of an internet socket"));
    }
    socket.inode = from.ino();
    socket.family = static_cast<int>(from.family());
    socket.type = static_cast<int>(from.type());
    socket.protocol = static_cast<int>(from.proto());
    socket.state = static_cast<int>(from.state());
    socket.source_port = static_cast<std::uint16_t>(from.src_port());
    socket.destination_port = static_cast<std::uint16_t>(from.dst_port());
    socket.backlog = from.backlog();
    socket.source = TRY(address_from_wire(from.src_addr(), socket.family));
    socket.destination = TRY(address_from_wire(from.dst_addr(), socket.family));
    socket.options = TRY(options_from_wire(from.opts(), extra));
    if (socket.options.bound_device.empty()) socket.options.bound_device = from.ifname();
    tcp_options_from_wire(from.tcp_opts(), socket.options);
    TRY(ip_options_from_wire(from.ip_opts(), socket));
    socket.ipv6_only = from.v6only();
    socket.free_bind = from.ip_opts().freebind();
    socket.shutdown = TRY(shutdown_from_wire(from.shutdown()));
    socket.transparent = extra.transparent();
    socket.error_unread = extra.error_unread() && tcp;
    socket.datagrams = TRY(datagrams_from_extra(extra));
    TRY(devices_from_extra(extra, socket));
    if (raw) TRY(raw_from_wire(from.ip_opts().raw(), socket));
    return socket;
}

bool unix_to_wire(const model::UnixSocket& socket, wire::UnixSk& into, wire::FerrySocket& extra) {
    into.set_ino(socket.inode);
    into.set_type(static_cast<std::uint32_t>(socket.type));
    into.set_state(static_cast<std::uint32_t>(socket.state));
    into.set_uflags(0);
    into.set_backlog(socket.backlog);
    into.set_peer(socket.peer_inode);
    options_to_wire(socket.options, true, *into.mutable_opts());
    const bool has_path = !socket.name.empty() && socket.name.front() != '\0';
    // Paths carry their closing NUL, as sock_diag reports them; abstract names have none.
    into.set_name(has_path ? socket.name + '\0' : socket.name);
    into.set_shutdown(static_cast<std::uint32_t>(socket.shutdown));
    if (has_path) {
        into.mutable_file_perms()->set_mode(socket.file_mode);
        into.mutable_file_perms()->set_uid(socket.file_uid);
        into.mutable_file_perms()->set_gid(socket.file_gid);
    }
    if (!socket.directory.empty()) into.set_name_dir(socket.directory);
    extra.set_renamed_to(socket.path);
    extra.set_peer_name(socket.peer_name);
    if (socket.listener) {
        wire::FerrySocketOwner& owner = *extra.mutable_listener();
        owner.set_pid(socket.listener->pid);
        owner.set_uid(socket.listener->uid);
        owner.set_gid(socket.listener->gid);
    }
    return options_to_extra(socket.options, extra) || !socket.peer_name.empty() ||
           !socket.path.empty() || socket.listener.has_value();
}

Result<model::UnixSocket> unix_from_wire(const wire::UnixSk& from, const wire::FerrySocket& extra) {
    if (from.uflags() != 0) {
        return fail(Error::unsupported("a Unix socket whose peer is outside the tree"));
    }
    if (from.deleted()) return fail(Error::unsupported("a Unix socket whose path was deleted"));
    const bool known_type =
        from.type() == SOCK_STREAM || from.type() == SOCK_DGRAM || from.type() == SOCK_SEQPACKET;
    if (!known_type || from.state() > 12 || from.name().size() > kUnixPathMax + 1) {
        return fail(Error::corrupt("a Unix socket's type, state or name"));
    }
    model::UnixSocket socket;
    socket.inode = from.ino();
    socket.type = static_cast<int>(from.type());
    socket.state = static_cast<int>(from.state());
    socket.name = from.name();
    const bool has_path = !socket.name.empty() && socket.name.front() != '\0';
    if (has_path) {
        while (!socket.name.empty() && socket.name.back() == '\0') socket.name.pop_back();
        if (socket.name.find('\0') != std::string::npos) {
            return fail(Error::corrupt("a Unix socket's path"));
        }
    }
    socket.directory = from.name_dir();
    socket.path = extra.renamed_to();
    for (const std::string& path : {socket.directory, socket.path}) {
        const bool is_path = path.starts_with('/') && path.size() <= limits::kTreePathBytesMax &&
                             path.find('\0') == std::string::npos;
        if (!path.empty() && !is_path) return fail(Error::corrupt("where a Unix socket stands"));
    }
    socket.peer_inode = from.peer();
    if (extra.peer_name().size() > kUnixPathMax) return fail(Error::corrupt("a peer's name"));
    socket.peer_name = extra.peer_name();
    if (extra.has_listener()) {
        const wire::FerrySocketOwner& owner = extra.listener();
        socket.listener = {.pid = owner.pid(), .uid = owner.uid(), .gid = owner.gid()};
    }
    socket.backlog = from.backlog();
    socket.file_mode = from.file_perms().mode();
    socket.file_uid = from.file_perms().uid();
    socket.file_gid = from.file_perms().gid();
    socket.shutdown = TRY(shutdown_from_wire(from.shutdown()));
    socket.options = TRY(options_from_wire(from.opts(), extra));
    return socket;
}

Result<> put_connection(std::uint32_t inode, const model::TcpConnection& c, ImageStore& into) {
    wire::TcpStream stream;
    stream.set_inq_len(static_cast<std::uint32_t>(c.receive_queue.size()));
    // The format counts from the ends of the queues.
    stream.set_inq_seq(c.receive_sequence + stream.inq_len());
    stream.set_outq_len(static_cast<std::uint32_t>(c.send_queue.size()));
    stream.set_outq_seq(c.send_sequence + stream.outq_len());
    stream.set_unsq_len(c.unsent_bytes);
    stream.set_mss_clamp(c.mss_clamp);
    stream.set_opt_mask((c.timestamps ? TCPI_OPT_TIMESTAMPS : 0u) | (c.sack ? TCPI_OPT_SACK : 0u) |
                        (c.window_scaling ? TCPI_OPT_WSCALE : 0u) | (c.ecn ? TCPI_OPT_ECN : 0u));
    stream.set_snd_wscale(c.send_window_scale);
    stream.set_rcv_wscale(c.receive_window_scale);
    stream.set_timestamp(c.timestamp);
    if (c.has_window) {
        stream.set_snd_wl1(c.send_wl1);
        stream.set_snd_wnd(c.send_window);
        stream.set_max_window(c.max_window);
        stream.set_rcv_wnd(c.receive_window);
        stream.set_rcv_wup(c.receive_wup);
    }
    RecordWriter writer(Magic::TcpStream);
    TRY(writer.add(stream));
    writer.add_raw(c.receive_queue);
    writer.add_raw(c.send_queue);
    return into.put(connection_name(inode), writer.bytes());
}

Result<std::optional<model::TcpConnection>> get_connection(std::uint32_t inode,
                                                           const ImageStore& from) {
    const std::string name = connection_name(inode);
    const std::optional<model::Bytes> bytes = TRY(from.get(name));
    if (!bytes) return std::optional<model::TcpConnection>();
    RecordReader reader = TRY(RecordReader::open(name, *bytes, Magic::TcpStream));
    wire::TcpStream stream;
    TRY(reader.next(stream));
    if (stream.inq_len() > limits::kQueueBytesMax || stream.outq_len() > limits::kQueueBytesMax) {
        return fail(Error::limit(name + ": more than 64 MiB in a TCP queue"));
    }
    const bool sane = stream.unsq_len() <= stream.outq_len() &&
                      stream.snd_wscale() <= kWindowScaleMax &&
                      stream.rcv_wscale() <= kWindowScaleMax;
    if (!sane) return fail(Error::corrupt(name + ": a TCP connection that cannot be"));
    model::TcpConnection c;
    append(TRY(reader.raw(stream.inq_len())), c.receive_queue);
    append(TRY(reader.raw(stream.outq_len())), c.send_queue);
    TRY(reader.finish());
    c.receive_sequence = stream.inq_seq() - stream.inq_len();
    c.send_sequence = stream.outq_seq() - stream.outq_len();
    c.unsent_bytes = stream.unsq_len();
    c.mss_clamp = stream.mss_clamp();
    c.timestamps = (stream.opt_mask() & TCPI_OPT_TIMESTAMPS) != 0;
    c.sack = (stream.opt_mask() & TCPI_OPT_SACK) != 0;
    c.window_scaling = (stream.opt_mask() & TCPI_OPT_WSCALE) != 0;
    c.ecn = (stream.opt_mask() & TCPI_OPT_ECN) != 0;
    c.send_window_scale = static_cast<std::uint8_t>(stream.snd_wscale());
    c.receive_window_scale = static_cast<std::uint8_t>(stream.rcv_wscale());
    c.timestamp = stream.timestamp();
    c.has_window = stream.has_snd_wnd();
    c.send_wl1 = stream.snd_wl1();
    c.send_window = stream.snd_wnd();
    c.max_window = stream.max_window();
    c.receive_window = stream.rcv_wnd();
    c.receive_wup = stream.rcv_wup();
    return std::optional<model::TcpConnection>(std::move(c));
}

}  // namespace ferry::image
