#include "resources/plain_options.h"

#include <fmt/format.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "os/socket.h"

namespace ferry::resources {
namespace {

using model::PlainOption;

enum class Use : std::uint8_t {
    Carried,
    Listening,  // carried for listening sockets, reads as something else for others
    Arrival,    // carried; asks for what datagrams came with
    Refused,
};

struct Row {
    int family;    // AF_UNSPEC: any but AF_UNIX
    int protocol;  // 0: any
    int level, option;
    const char* name;
    Use use;
    int refused_bits = 0;  // of the value
    bool is_wide = false;  // eight bytes instead of four, all zeros if not set; refused
};

constexpr int kTcp = IPPROTO_TCP, kUdp = IPPROTO_UDP, kIp = IPPROTO_IP, kIp6 = IPPROTO_IPV6;
constexpr int kAnyFamily = -1;  // AF_UNIX too
constexpr int kDatagram = -1;   // any protocol, but none of streams
constexpr int kRaw = -2;        // any protocol of SOCK_RAW

// By number where glibc 2.36 does not know the name (asm-generic/socket.h, linux/in.h, linux/in6.h,
// linux/tcp.h of Linux 6.18).
constexpr int kPassPidfd = 76, kPassRights = 83, kRcvMark = 75, kRcvPriority = 82, kInq = 84;
constexpr int kIpLocalPortRange = 51;
constexpr int kTcpRtoMaxMs = 44, kTcpRtoMinUs = 45, kTcpDelackMaxUs = 46, kTcpTxDelay = 37;
constexpr int kIpv6MulticastAll = 29, kIpv6RecvErrRfc4884 = 31, kIpv6FlowinfoSend = 33;
constexpr int kIpRecvErrRfc4884 = 26, kIpv6HeaderIncluded = 36;
constexpr int kTimestampNew = 63, kTimestampNsNew = 64, kTimestampingNew = 65, kReserveMem = 73;
constexpr int kPacketVnetHdrSize = 24;
constexpr int kSolRaw = 255, kIcmpFilter = 1;  // linux/icmp.h
// By name they are in linux/udp.h, which netinet/udp.h cannot be beside.
constexpr int kUdpCork = 1, kUdpEncap = 100, kUdpNoCheck6Tx = 101, kUdpNoCheck6Rx = 102,
              kUdpSegment = 103, kUdpGro = 104;
// SOF_TIMESTAMPING_OPT_ID and BIND_PHC: numbers that go on counting, and a clock of the host's.
constexpr int kTimestampsRefused = 1 << 7 | 1 << 15;

// Not here, because they change by themselves: SO_INCOMING_CPU, SO_TXREHASH, TCP_QUICKACK,
// TCP_WINDOW_CLAMP and TCP_MAXSEG of connections (the segment size is the connection's).
constexpr Row kRows[] = {
    {kAnyFamily, 0, SOL_SOCKET, SO_DEBUG, "SO_DEBUG", Use::Carried},
    {kAnyFamily, 0, SOL_SOCKET, SO_PEEK_OFF, "SO_PEEK_OFF", Use::Carried},
    {kAnyFamily, 0, SOL_SOCKET, SO_TIMESTAMPNS, "SO_TIMESTAMPNS", Use::Arrival},
    {kAnyFamily, kDatagram, SOL_SOCKET, kTimestampNew, "SO_TIMESTAMP_NEW", Use::Arrival},
    {kAnyFamily, kDatagram, SOL_SOCKET, kTimestampNsNew, "SO_TIMESTAMPNS_NEW", Use::Arrival},
    {kAnyFamily, 0, SOL_SOCKET, SO_TIMESTAMPING, "SO_TIMESTAMPING", Use::Arrival,
     kTimestampsRefused},
    {kAnyFamily, kDatagram, SOL_SOCKET, kTimestampingNew, "SO_TIMESTAMPING_NEW", Use::Arrival,
     kTimestampsRefused},
    {AF_PACKET, 0, SOL_SOCKET, SO_NOFCS, "SO_NOFCS", Use::Carried},
    {AF_UNSPEC, kDatagram, SOL_SOCKET, SO_WIFI_STATUS, "SO_WIFI_STATUS", Use::Arrival},
    {AF_UNSPEC, kDatagram, SOL_SOCKET, SO_TXTIME, "SO_TXTIME", Use::Refused, 0, true},
    {AF_UNSPEC, 0, SOL_SOCKET, kReserveMem, "SO_RESERVE_MEM", Use::Refused},
    {AF_UNSPEC, 0, SOL_SOCKET, SO_ZEROCOPY, "SO_ZEROCOPY", Use::Refused},
    {AF_UNSPEC, 0, SOL_SOCKET, SO_BUSY_POLL, "SO_BUSY_POLL", Use::Carried},
    {AF_UNSPEC, 0, SOL_SOCKET, SO_PREFER_BUSY_POLL, "SO_PREFER_BUSY_POLL", Use::Carried},
    {AF_UNSPEC, 0, SOL_SOCKET, SO_BUSY_POLL_BUDGET, "SO_BUSY_POLL_BUDGET", Use::Carried},
    {AF_UNSPEC, 0, SOL_SOCKET, SO_MAX_PACING_RATE, "SO_MAX_PACING_RATE", Use::Carried},
    {AF_UNSPEC, 0, SOL_SOCKET, SO_SELECT_ERR_QUEUE, "SO_SELECT_ERR_QUEUE", Use::Carried},
    {AF_UNSPEC, kDatagram, SOL_SOCKET, SO_RXQ_OVFL, "SO_RXQ_OVFL", Use::Arrival},
    {AF_UNSPEC, kDatagram, SOL_SOCKET, kRcvMark, "SO_RCVMARK", Use::Arrival},
    {AF_UNSPEC, kDatagram, SOL_SOCKET, kRcvPriority, "SO_RCVPRIORITY", Use::Arrival},
    {AF_UNIX, 0, SOL_SOCKET, kPassPidfd, "SO_PASSPIDFD", Use::Arrival},
    {AF_UNIX, 0, SOL_SOCKET, kPassRights, "SO_PASSRIGHTS", Use::Carried},
    {AF_UNIX, 0, SOL_SOCKET, kInq, "SO_INQ", Use::Carried},
    {AF_UNSPEC, kTcp, kTcp, TCP_LINGER2, "TCP_LINGER2", Use::Carried},
    {AF_UNSPEC, kTcp, kTcp, TCP_SYNCNT, "TCP_SYNCNT", Use::Carried},
    {AF_UNSPEC, kTcp, kTcp, TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT", Use::Carried},
    {AF_UNSPEC, kTcp, kTcp, TCP_THIN_LINEAR_TIMEOUTS, "TCP_THIN_LINEAR_TIMEOUTS", Use::Carried},
    {AF_UNSPEC, kTcp, kTcp, TCP_INQ, "TCP_INQ", Use::Carried},
    {AF_UNSPEC, kTcp, kTcp, kTcpRtoMaxMs, "TCP_RTO_MAX_MS", Use::Carried},
    {AF_UNSPEC, kTcp, kTcp, kTcpRtoMinUs, "TCP_RTO_MIN_US", Use::Carried},
    {AF_UNSPEC, kTcp, kTcp, kTcpDelackMaxUs, "TCP_DELACK_MAX_US", Use::Carried},
    {AF_UNSPEC, kTcp, kTcp, kTcpTxDelay, "TCP_TX_DELAY", Use::Refused},
    {AF_UNSPEC, kTcp, kTcp, TCP_SAVE_SYN, "TCP_SAVE_SYN", Use::Refused},
    {AF_UNSPEC, kTcp, kTcp, TCP_FASTOPEN_CONNECT, "TCP_FASTOPEN_CONNECT", Use::Refused},
    {AF_UNSPEC, kTcp, kTcp, TCP_FASTOPEN_NO_COOKIE, "TCP_FASTOPEN_NO_COOKIE", Use::Refused},
    {AF_UNSPEC, kTcp, kTcp, TCP_FASTOPEN, "TCP_FASTOPEN", Use::Listening},
    {AF_UNSPEC, kTcp, kTcp, TCP_MAXSEG, "TCP_MAXSEG", Use::Listening},
    {AF_UNSPEC, kTcp, kTcp, TCP_WINDOW_CLAMP, "TCP_WINDOW_CLAMP", Use::Listening},
    {AF_UNSPEC, kUdp, kUdp, kUdpCork, "UDP_CORK", Use::Carried},
    {AF_UNSPEC, kUdp, kUdp, kUdpEncap, "UDP_ENCAP", Use::Refused},
    {AF_UNSPEC, kUdp, kUdp, kUdpNoCheck6Tx, "UDP_NO_CHECK6_TX", Use::Carried},
    {AF_UNSPEC, kUdp, kUdp, kUdpNoCheck6Rx, "UDP_NO_CHECK6_RX", Use::Carried},
    {AF_UNSPEC, kUdp, kUdp, kUdpSegment, "UDP_SEGMENT", Use::Carried},
    {AF_UNSPEC, kUdp, kUdp, kUdpGro, "UDP_GRO", Use::Arrival},
    {AF_INET, kRaw, kIp, IP_HDRINCL, "IP_HDRINCL", Use::Carried},
    {AF_INET, kRaw, kIp, IP_NODEFRAG, "IP_NODEFRAG", Use::Carried},
    {AF_INET, kRaw, kIp, IP_ROUTER_ALERT, "IP_ROUTER_ALERT", Use::Refused},
    {AF_INET, kRaw, kSolRaw, kIcmpFilter, "ICMP_FILTER", Use::Carried},
    {AF_INET6, kRaw, kIp6, kIpv6HeaderIncluded, "IPV6_HDRINCL", Use::Carried},
    {AF_INET6, kRaw, kIp6, IPV6_ROUTER_ALERT, "IPV6_ROUTER_ALERT", Use::Refused},
    {AF_INET6, kRaw, kSolRaw, IPV6_CHECKSUM, "IPV6_CHECKSUM", Use::Carried},
    // IPv6 sockets have those of IPv4 as well, for the addresses that are mapped.
    {AF_UNSPEC, 0, kIp, IP_TOS, "IP_TOS", Use::Carried},
    {AF_UNSPEC, 0, kIp, IP_TTL, "IP_TTL", Use::Carried},
    {AF_UNSPEC, 0, kIp, IP_MINTTL, "IP_MINTTL", Use::Carried},
    {AF_UNSPEC, 0, kIp, IP_MTU_DISCOVER, "IP_MTU_DISCOVER", Use::Carried},
    {AF_UNSPEC, 0, kIp, IP_RECVERR, "IP_RECVERR", Use::Carried},
    {AF_UNSPEC, 0, kIp, IP_BIND_ADDRESS_NO_PORT, "IP_BIND_ADDRESS_NO_PORT", Use::Carried},
    {AF_UNSPEC, 0, kIp, kIpLocalPortRange, "IP_LOCAL_PORT_RANGE", Use::Carried},
    {AF_UNSPEC, kDatagram, kIp, IP_PKTINFO, "IP_PKTINFO", Use::Arrival},
    {AF_UNSPEC, kDatagram, kIp, IP_RECVTTL, "IP_RECVTTL", Use::Arrival},
    {AF_UNSPEC, kDatagram, kIp, IP_RECVTOS, "IP_RECVTOS", Use::Arrival},
    {AF_UNSPEC, kDatagram, kIp, IP_RECVOPTS, "IP_RECVOPTS", Use::Arrival},
    {AF_UNSPEC, kDatagram, kIp, IP_RETOPTS, "IP_RETOPTS", Use::Arrival},
    {AF_UNSPEC, kDatagram, kIp, IP_PASSSEC, "IP_PASSSEC", Use::Arrival},
    {AF_UNSPEC, kDatagram, kIp, IP_ORIGDSTADDR, "IP_RECVORIGDSTADDR", Use::Arrival},
    {AF_UNSPEC, kDatagram, kIp, IP_CHECKSUM, "IP_CHECKSUM", Use::Arrival},
    {AF_UNSPEC, kDatagram, kIp, IP_RECVFRAGSIZE, "IP_RECVFRAGSIZE", Use::Arrival},
    {AF_UNSPEC, kDatagram, kIp, kIpRecvErrRfc4884, "IP_RECVERR_RFC4884", Use::Carried},
    {AF_UNSPEC, kDatagram, kIp, IP_MULTICAST_TTL, "IP_MULTICAST_TTL", Use::Carried},
    {AF_UNSPEC, kDatagram, kIp, IP_MULTICAST_LOOP, "IP_MULTICAST_LOOP", Use::Carried},
    {AF_UNSPEC, kDatagram, kIp, IP_MULTICAST_ALL, "IP_MULTICAST_ALL", Use::Carried},
    // Where none was set, a connection shows what its route says; then that is kept.
    {AF_INET6, 0, kIp6, IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS", Use::Carried},
    {AF_INET6, 0, kIp6, IPV6_MINHOPCOUNT, "IPV6_MINHOPCOUNT", Use::Carried},
    {AF_INET6, 0, kIp6, IPV6_TCLASS, "IPV6_TCLASS", Use::Carried},
    {AF_INET6, 0, kIp6, IPV6_MTU_DISCOVER, "IPV6_MTU_DISCOVER", Use::Carried},
    {AF_INET6, 0, kIp6, IPV6_RECVERR, "IPV6_RECVERR", Use::Carried},
    {AF_INET6, 0, kIp6, IPV6_AUTOFLOWLABEL, "IPV6_AUTOFLOWLABEL", Use::Carried},
    {AF_INET6, 0, kIp6, kIpv6FlowinfoSend, "IPV6_FLOWINFO_SEND", Use::Carried},
    {AF_INET6, 0, kIp6, IPV6_ADDR_PREFERENCES, "IPV6_ADDR_PREFERENCES", Use::Refused},
    {AF_INET6, kDatagram, kIp6, IPV6_2292PKTINFO, "IPV6_2292PKTINFO", Use::Arrival},
    {AF_INET6, kDatagram, kIp6, IPV6_2292HOPOPTS, "IPV6_2292HOPOPTS", Use::Arrival},
    {AF_INET6, kDatagram, kIp6, IPV6_2292DSTOPTS, "IPV6_2292DSTOPTS", Use::Arrival},
    {AF_INET6, kDatagram, kIp6, IPV6_2292RTHDR, "IPV6_2292RTHDR", Use::Arrival},
    {AF_INET6, kDatagram, kIp6, IPV6_2292HOPLIMIT, "IPV6_2292HOPLIMIT", Use::Arrival},
    {AF_INET6, kDatagram, kIp6, IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO", Use::Arrival},
    {AF_INET6, kDatagram, kIp6, IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT", Use::Arrival},
    {AF_INET6, kDatagram, kIp6, IPV6_RECVTCLASS, "IPV6_RECVTCLASS", Use::Arrival},
    {AF_INET6, kDatagram, kIp6, IPV6_RECVHOPOPTS, "IPV6_RECVHOPOPTS", Use::Arrival},
    {AF_INET6, kDatagram, kIp6, IPV6_RECVRTHDR, "IPV6_RECVRTHDR", Use::Arrival},
    {AF_INET6, kDatagram, kIp6, IPV6_RECVDSTOPTS, "IPV6_RECVDSTOPTS", Use::Arrival},
    {AF_INET6, kDatagram, kIp6, IPV6_RECVPATHMTU, "IPV6_RECVPATHMTU", Use::Arrival},
    {AF_INET6, kDatagram, kIp6, IPV6_ORIGDSTADDR, "IPV6_RECVORIGDSTADDR", Use::Arrival},
    {AF_INET6, kDatagram, kIp6, IPV6_RECVFRAGSIZE, "IPV6_RECVFRAGSIZE", Use::Arrival},
    {AF_INET6, kDatagram, kIp6, kIpv6RecvErrRfc4884, "IPV6_RECVERR_RFC4884", Use::Carried},
    {AF_INET6, kDatagram, kIp6, IPV6_DONTFRAG, "IPV6_DONTFRAG", Use::Carried},
    {AF_INET6, kDatagram, kIp6, IPV6_MULTICAST_HOPS, "IPV6_MULTICAST_HOPS", Use::Carried},
    {AF_INET6, kDatagram, kIp6, IPV6_MULTICAST_LOOP, "IPV6_MULTICAST_LOOP", Use::Carried},
    {AF_INET6, kDatagram, kIp6, kIpv6MulticastAll, "IPV6_MULTICAST_ALL", Use::Carried},
    {AF_NETLINK, 0, SOL_NETLINK, NETLINK_PKTINFO, "NETLINK_PKTINFO", Use::Carried},
    {AF_NETLINK, 0, SOL_NETLINK, NETLINK_BROADCAST_ERROR, "NETLINK_BROADCAST_ERROR", Use::Carried},
    {AF_NETLINK, 0, SOL_NETLINK, NETLINK_NO_ENOBUFS, "NETLINK_NO_ENOBUFS", Use::Carried},
    {AF_NETLINK, 0, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, "NETLINK_LISTEN_ALL_NSID", Use::Carried},
    {AF_NETLINK, 0, SOL_NETLINK, NETLINK_CAP_ACK, "NETLINK_CAP_ACK", Use::Carried},
    {AF_NETLINK, 0, SOL_NETLINK, NETLINK_EXT_ACK, "NETLINK_EXT_ACK", Use::Carried},
    {AF_NETLINK, 0, SOL_NETLINK, NETLINK_GET_STRICT_CHK, "NETLINK_GET_STRICT_CHK", Use::Carried},
    {AF_PACKET, 0, SOL_PACKET, PACKET_COPY_THRESH, "PACKET_COPY_THRESH", Use::Carried},
    {AF_PACKET, 0, SOL_PACKET, PACKET_AUXDATA, "PACKET_AUXDATA", Use::Carried},
    {AF_PACKET, 0, SOL_PACKET, PACKET_ORIGDEV, "PACKET_ORIGDEV", Use::Carried},
    {AF_PACKET, 0, SOL_PACKET, PACKET_VERSION, "PACKET_VERSION", Use::Carried},
    {AF_PACKET, 0, SOL_PACKET, PACKET_RESERVE, "PACKET_RESERVE", Use::Carried},
    {AF_PACKET, 0, SOL_PACKET, PACKET_LOSS, "PACKET_LOSS", Use::Carried},
    {AF_PACKET, 0, SOL_PACKET, PACKET_VNET_HDR, "PACKET_VNET_HDR", Use::Carried},
    {AF_PACKET, 0, SOL_PACKET, kPacketVnetHdrSize, "PACKET_VNET_HDR_SZ", Use::Carried},
    {AF_PACKET, 0, SOL_PACKET, PACKET_TIMESTAMP, "PACKET_TIMESTAMP", Use::Carried},
    {AF_PACKET, 0, SOL_PACKET, PACKET_QDISC_BYPASS, "PACKET_QDISC_BYPASS", Use::Carried},
    {AF_PACKET, 0, SOL_PACKET, PACKET_IGNORE_OUTGOING, "PACKET_IGNORE_OUTGOING", Use::Carried},
    // The last one: it forbids what the others of the filter are set by.
    {kAnyFamily, 0, SOL_SOCKET, SO_LOCK_FILTER, "SO_LOCK_FILTER", Use::Carried},
};
constexpr std::size_t kRowCount = std::size(kRows);

bool concerns(const Row& row, const SocketKind& kind) {
    const bool family = row.family == kAnyFamily || row.family == kind.family ||
                        (row.family == AF_UNSPEC && kind.family != AF_UNIX);
    if (row.protocol == kDatagram) return family && kind.type != SOCK_STREAM;
    if (row.protocol == kRaw) return family && kind.type == SOCK_RAW;
    return family && (row.protocol == 0 || row.protocol == kind.protocol);
}

Result<int> read_value(int fd, const Row& row) {
    if (!row.is_wide) return os::getsockopt<int>(fd, row.level, row.option);
    return TRY(os::getsockopt<std::uint64_t>(fd, row.level, row.option)) == 0 ? 0 : 1;
}

// None: this kernel, or this kind of socket, does not know it.
Result<std::optional<int>> value_of(int fd, const SocketKind& kind, const Row& row) {
    const auto value = read_value(fd, row);
    if (!value) {
        const int code = value.error().code();
        if (code == ENOPROTOOPT || code == EOPNOTSUPP) return std::optional<int>();
        return fail(value.error());
    }
    // The lower two bits of a TCP socket's are the kernel's (ECN), and cannot be set.
    constexpr int kEcnBits = 3;
    const bool traffic_class = (row.level == kIp && row.option == IP_TOS) ||
                               (row.level == kIp6 && row.option == IPV6_TCLASS);
    if (traffic_class && kind.protocol == kTcp) return std::optional(*value & ~kEcnBits);
    return std::optional(*value);
}

const Row* find_row(const PlainOption& option) {
    const auto* row = std::ranges::find_if(kRows, [&](const Row& candidate) {
        return candidate.level == option.level && candidate.option == option.option;
    });
    return row == std::end(kRows) ? nullptr : row;
}

}  // namespace

Result<const PlainOptionReader::Values*> PlainOptionReader::fresh(const SocketKind& kind) {
    const auto known = fresh_.find(kind);
    if (known != fresh_.end()) return &known->second;
    const os::UniqueFd sample = TRY(os::socket(kind.family, kind.type, kind.protocol));
    Values values(kRowCount);
    for (std::size_t i = 0; i < kRowCount; ++i) {
        if (concerns(kRows[i], kind)) values[i] = TRY(value_of(sample.get(), kind, kRows[i]));
    }
    return &fresh_.emplace(kind, std::move(values)).first->second;
}

Result<std::vector<PlainOption>> PlainOptionReader::read(int fd, const SocketKind& kind,
                                                         bool listening, const Holder& holder) {
    const Values& usual = *TRY(fresh(kind));
    std::vector<PlainOption> options;
    for (std::size_t i = 0; i < kRowCount; ++i) {
        const Row& row = kRows[i];
        if (!usual[i] || (row.use == Use::Listening && !listening)) continue;
        const std::optional<int> value = TRY(value_of(fd, kind, row));
        if (!value || value == usual[i]) continue;
        if (row.use == Use::Refused || (*value & row.refused_bits) != 0) {
            return refuse(holder, fmt::format("a socket with {} set, which is not carried: leave "
                                              "it at its default",
                                              row.name));
        }
        options.push_back({.level = row.level, .option = row.option, .value = *value});
    }
    return options;
}

std::string arrival_option(std::span<const PlainOption> options) {
    for (const PlainOption& option : options) {
        const Row* row = find_row(option);
        if (row != nullptr && row->use == Use::Arrival) return row->name;
    }
    return {};
}

Result<> apply_plain_options(int fd, const SocketKind& kind, std::span<const PlainOption> options) {
    for (const PlainOption& option : options) {
        const Row* row = find_row(option);
        if (row == nullptr || row->use == Use::Refused || !concerns(*row, kind)) {
            return fail(Error::corrupt(
                fmt::format("a socket option {} of level {}", option.option, option.level)));
        }
        TRY(with_context(os::setsockopt(fd, option.level, option.option, option.value), row->name));
    }
    return {};
}

}  // namespace ferry::resources
