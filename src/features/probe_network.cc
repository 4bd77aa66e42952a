#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_link.h>
#include <linux/inet_diag.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "features/probes.h"
#include "os/fd.h"
#include "os/inet.h"
#include "os/net_socket.h"
#include "os/raw_syscall.h"
#include "os/socket.h"

namespace ferry::features {
namespace {

constexpr int kBufferLock = 72;                     // SO_BUF_LOCK, Linux 5.15
constexpr int kIpv6Freebind = 78;                   // IPV6_FREEBIND, Linux 4.15
constexpr unsigned long kSocketNamespace = 0x894C;  // SIOCGSKNS
constexpr std::uint16_t kNewIfindex = 49;           // IFLA_NEW_IFINDEX, Linux 5.13
constexpr std::uint16_t kTargetNamespace = 46;      // IFLA_TARGET_NETNSID, Linux 4.15

Result<os::UniqueFd> tcp_socket() {
    return os::socket(AF_INET, SOCK_STREAM, 0);
}

Result<> repair() {
    const auto socket = TRY(tcp_socket());
    return os::setsockopt(socket.get(), IPPROTO_TCP, TCP_REPAIR, int{1});
}

// A connection over the loopback device. The listening end is kept: its end would reset the other.
struct Connection {
    os::UniqueFd listening, client;
};

Result<Connection> connection() {
    Connection made = {.listening = TRY(tcp_socket()), .client = TRY(tcp_socket())};
    os::SocketAddress address;
    sockaddr_in loopback = {};
    loopback.sin_family = AF_INET;
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::memcpy(&address.storage, &loopback, sizeof(loopback));
    address.size = sizeof(loopback);
    TRY(os::bind(made.listening.get(), address));
    TRY(os::listen(made.listening.get(), 1));
    TRY(os::connect(made.client.get(), TRY(os::getsockname(made.listening.get()))));
    return made;
}

Result<> repair_half_closed() {
    const auto made = TRY(with_context(connection(), "a connection over the loopback device"));
    TRY(os::raw_syscall("shutdown()", SYS_shutdown, made.client.get(), SHUT_WR));
    return os::setsockopt(made.client.get(), IPPROTO_TCP, TCP_REPAIR, int{1});
}

Result<> repair_window() {
    const auto made = TRY(with_context(connection(), "a connection over the loopback device"));
    TRY(os::setsockopt(made.client.get(), IPPROTO_TCP, TCP_REPAIR, int{1}));
    return succeeded(
        os::getsockopt<tcp_repair_window>(made.client.get(), IPPROTO_TCP, TCP_REPAIR_WINDOW));
}

// A few netlink messages in one datagram; the first error that comes back.
class Netlink {
  public:
    explicit Netlink(int protocol) : protocol_(protocol) {}
    template <class Header>
    void begin(int type, int flags, const Header& header) {
        start_ = bytes_.size();
        nlmsghdr message = {};
        message.nlmsg_type = static_cast<__u16>(type);
        message.nlmsg_flags = static_cast<__u16>(flags | NLM_F_REQUEST);
        append(std::as_bytes(std::span(&message, 1)));
        append(std::as_bytes(std::span(&header, 1)));
    }
    void put(std::uint16_t type, std::span<const std::byte> value) {
        const nlattr header = {.nla_len = static_cast<__u16>(sizeof(nlattr) + value.size()),
                               .nla_type = type};
        append(std::as_bytes(std::span(&header, 1)));
        append(value);
    }
    void put(std::uint16_t type, std::uint32_t value) {
        put(type, std::as_bytes(std::span(&value, 1)));
    }
    void put(std::uint16_t type, const Netlink& nested) {
        put(static_cast<std::uint16_t>(type | NLA_F_NESTED), nested.bytes_);
    }
    void put_text(std::uint16_t type, const char* text) {
        put(type, std::as_bytes(std::span(text, std::strlen(text) + 1)));
    }
    Result<> exchange(std::string_view what) const;

  private:
    void append(std::span<const std::byte> data) {
        bytes_.insert(bytes_.end(), data.begin(), data.end());
        bytes_.resize((bytes_.size() + 3) & ~std::size_t{3});
        // A nested builder has no message of its own and no length to keep.
        if (bytes_.size() < start_ + sizeof(nlmsghdr)) return;
        if (protocol_ < 0) return;
        const auto length = static_cast<__u32>(bytes_.size() - start_);
        std::memcpy(bytes_.data() + start_, &length, sizeof(length));
    }
    int protocol_;
    std::size_t start_ = 0;
    std::vector<std::byte> bytes_;
};
constexpr int kNested = -1;

Result<> Netlink::exchange(std::string_view what) const {
    const auto socket = TRY(os::socket(AF_NETLINK, SOCK_RAW, protocol_));
    TRY(os::send_to(socket.get(), bytes_));
    alignas(nlmsghdr) std::array<std::byte, 16384> buffer;
    iovec part = {buffer.data(), buffer.size()};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    while (TRY(os::receive_message(socket.get(), message, MSG_DONTWAIT))) {
        nlmsghdr header;
        std::memcpy(&header, buffer.data(), sizeof(header));
        if (header.nlmsg_type != NLMSG_ERROR) continue;
        nlmsgerr error;
        std::memcpy(&error, buffer.data() + NLMSG_HDRLEN, sizeof(error));
        if (error.error != 0) return fail(Error::system(-error.error, std::string(what)));
    }
    return {};
}

nfgenmsg nft_header(int family, int resource) {
    return {.nfgen_family = static_cast<__u8>(family),
            .version = NFNETLINK_V0,
            .res_id = htons(static_cast<std::uint16_t>(resource))};
}

constexpr int nft_type(int message) {
    return NFNL_SUBSYS_NFTABLES << 8 | message;
}

Result<> nft() {
    Netlink netlink(NETLINK_NETFILTER);
    netlink.begin(nft_type(NFT_MSG_GETGEN), NLM_F_ACK, nft_header(AF_UNSPEC, 0));
    return netlink.exchange("nftables");
}

// A table that vanishes with its socket, and in it a base chain on `hook` if one is given.
Result<> nft_table(int family, int hook) {
    const std::string name = fmt::format("ferry_probe_{}", ::getpid());
    Netlink netlink(NETLINK_NETFILTER);
    netlink.begin(NFNL_MSG_BATCH_BEGIN, 0, nft_header(AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
    netlink.begin(nft_type(NFT_MSG_NEWTABLE), NLM_F_CREATE | NLM_F_ACK, nft_header(family, 0));
    netlink.put_text(NFTA_TABLE_NAME, name.c_str());
    netlink.put(NFTA_TABLE_FLAGS, htonl(NFT_TABLE_F_OWNER));
    if (hook >= 0) {
        netlink.begin(nft_type(NFT_MSG_NEWCHAIN), NLM_F_CREATE | NLM_F_ACK, nft_header(family, 0));
        netlink.put_text(NFTA_CHAIN_TABLE, name.c_str());
        netlink.put_text(NFTA_CHAIN_NAME, "probe");
        Netlink where(kNested);
        where.put(NFTA_HOOK_HOOKNUM, htonl(static_cast<std::uint32_t>(hook)));
        where.put(NFTA_HOOK_PRIORITY, htonl(0));
        where.put_text(NFTA_HOOK_DEV, "lo");
        netlink.put(NFTA_CHAIN_HOOK, where);
        netlink.put_text(NFTA_CHAIN_TYPE, "filter");
    }
    netlink.begin(NFNL_MSG_BATCH_END, 0, nft_header(AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
    return netlink.exchange("nftables");
}

Result<> nft_owner() {
    return nft_table(NFPROTO_INET, -1);
}
Result<> nft_egress() {
    return nft_table(NFPROTO_NETDEV, NF_NETDEV_EGRESS);
}

Result<> packet_socket() {
    return succeeded(os::socket(AF_PACKET, SOCK_DGRAM, 0));
}
Result<> raw_socket() {
    return succeeded(os::socket(AF_INET, SOCK_RAW, IPPROTO_RAW));
}

Result<> buffer_lock() {
    const auto socket = TRY(tcp_socket());
    return os::setsockopt(socket.get(), SOL_SOCKET, kBufferLock, int{0});
}

Result<> ipv6_freebind() {
    const auto socket = TRY(os::socket(AF_INET6, SOCK_STREAM, 0));
    return os::setsockopt(socket.get(), IPPROTO_IPV6, kIpv6Freebind, int{1});
}

Result<> peek_offset() {
    const auto pair = TRY(os::socketpair(AF_UNIX, SOCK_STREAM, 0));
    return os::setsockopt(pair.first.get(), SOL_SOCKET, SO_PEEK_OFF, int{0});
}

Result<> socket_namespace() {
    const auto socket = TRY(tcp_socket());
    const os::UniqueFd fd(TRY(os::ioctl(socket.get(), kSocketNamespace, nullptr)));
    return {};
}

Result<> diagnose(int protocol) {
    Netlink netlink(NETLINK_SOCK_DIAG);
    inet_diag_req_v2 request = {};
    request.sdiag_family = AF_INET;
    request.sdiag_protocol = static_cast<__u8>(protocol);
    request.idiag_states = ~0U;
    netlink.begin(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, request);
    return netlink.exchange("sock_diag");
}
Result<> diagnose_tcp() {
    return diagnose(IPPROTO_TCP);
}
Result<> diagnose_raw() {
    return diagnose(IPPROTO_RAW);
}

// A kernel that does not know the attribute ignores it and answers about lo; one that does
// complains.
Result<> knows_link_attribute(std::uint16_t attribute, std::uint32_t senseless, int type,
                              const char* name) {
    Netlink netlink(NETLINK_ROUTE);
    ifinfomsg lo = {};
    lo.ifi_index = 1;
    netlink.begin(type, NLM_F_ACK, lo);
    netlink.put(attribute, senseless);
    if (!netlink.exchange(name)) return {};
    return missing(fmt::format("rtnetlink does not know {}", name));
}
Result<> link_namespace() {
    return knows_link_attribute(kTargetNamespace, 0x7fffffff, RTM_GETLINK, "IFLA_TARGET_NETNSID");
}
Result<> new_index() {
    return knows_link_attribute(kNewIfindex, 0, RTM_SETLINK, "IFLA_NEW_IFINDEX");
}

Result<> iptables_legacy() {
    for (const char* path : {"/usr/sbin/iptables-legacy", "/sbin/iptables-legacy"}) {
        if (exists(path)) return exists("/proc/net/ip_tables_names");
    }
    return missing("iptables-legacy is not installed");
}

constexpr Probe kProbes[] = {
    {"tcp_repair", "carry TCP connections", Need::Live, repair},
    {"tcp_half_closed", "carry TCP connections that one side has shut down", Need::Some,
     repair_half_closed},
    {"tcp_window", "carry the windows of TCP connections (Linux 4.8)", Need::Some, repair_window},
    {"nft_owner", "a packet hold that vanishes with Ferry (Linux 5.12)", Need::Live, nft_owner},
    {"nft_egress", "a prepared device that nobody sees yet (Linux 5.16)", Need::Live, nft_egress},
    {"packet_socket", "capture held packets, announce addresses", Need::Live, packet_socket},
    {"raw_socket", "replay held packets", Need::Live, raw_socket},
    {"inet_diag", "list TCP sockets", Need::Some, diagnose_tcp},
    {"net_diag_raw", "list raw sockets", Need::Some, diagnose_raw},
    {"so_peek_off", "read queues of unix sockets without emptying them", Need::Some, peek_offset},
    {"sockopt_buf_lock", "buffer sizes that were set by hand (Linux 5.15)", Need::Some,
     buffer_lock},
    {"ipv6_freebind", "IPv6 sockets bound to addresses that are not here", Need::Some,
     ipv6_freebind},
    {"sk_ns", "the network namespace of a socket", Need::Some, socket_namespace},
    {"link_nsid", "devices of other network namespaces (Linux 4.15)", Need::Some, link_namespace},
    {"newifindex", "devices that move with their index (Linux 5.13)", Need::Some, new_index},
    {"nftables", "nftables rules", Need::Some, nft},
    {"network_lock_nftables", "lock the network with nftables", Need::Some, nft_owner},
    {"has_ipt_legacy", "iptables of the old kind", Need::Some, iptables_legacy},
};

}  // namespace

std::span<const Probe> network_probes() {
    return kProbes;
}

}  // namespace ferry::features
