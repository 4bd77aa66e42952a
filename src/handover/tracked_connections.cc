#include "handover/tracked_connections.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "base/limits.h"
#include "handover/attribute_list.h"
#include "handover/nftables.h"
#include "os/fd.h"

namespace ferry::handover {
namespace {

using Connections = std::vector<FilterObject>;
using Bytes = std::span<const std::byte>;

constexpr const char* kCount = "/proc/sys/net/netfilter/nf_conntrack_count";

constexpr std::array<std::uint16_t, 11> kKept = {
    CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS,       CTA_PROTOINFO,     CTA_HELP,  CTA_TIMEOUT,
    CTA_MARK,       CTA_ZONE,        CTA_SEQ_ADJ_ORIG, CTA_SEQ_ADJ_REPLY, CTA_LABELS};

// One direction of a connection, as far as translation changes it.
struct Tuple {
    NetlinkAttributes addresses, ports;

    explicit Tuple(const NetlinkAttributes& tuple)
        : addresses(tuple.nested(CTA_TUPLE_IP)), ports(tuple.nested(CTA_TUPLE_PROTO)) {}
    [[nodiscard]] Bytes source() const { return either(CTA_IP_V4_SRC, CTA_IP_V6_SRC); }
    [[nodiscard]] Bytes destination() const { return either(CTA_IP_V4_DST, CTA_IP_V6_DST); }
    [[nodiscard]] Bytes source_port() const { return ports.find(CTA_PROTO_SRC_PORT); }
    [[nodiscard]] Bytes destination_port() const { return ports.find(CTA_PROTO_DST_PORT); }

  private:
    [[nodiscard]] Bytes either(std::uint16_t v4, std::uint16_t v6) const {
        return addresses.has(v4) ? addresses.find(v4) : addresses.find(v6);
    }
};

// What one side is translated to.
std::vector<std::byte> translation(Bytes address, Bytes port) {
    const bool is_v4 = address.size() == sizeof(in_addr);
    AttributeList list, ports;
    list.put(is_v4 ? CTA_NAT_V4_MINIP : CTA_NAT_V6_MINIP, address);
    list.put(is_v4 ? CTA_NAT_V4_MAXIP : CTA_NAT_V6_MAXIP, address);
    if (!port.empty()) {
        ports.put(CTA_PROTONAT_PORT_MIN, port);
        ports.put(CTA_PROTONAT_PORT_MAX, port);
        list.put(CTA_NAT_PROTO, ports.bytes());
    }
    return std::move(list).take();
}

// The kernel tells what translation has made of the answers' direction. It is made by telling it
// the untranslated direction, and what is to be translated.
void undo_translation(FilterObject& connection, std::uint32_t status, AttributeList& more) {
    const NetlinkAttributes own(connection.attributes);
    const Tuple asked(own.nested(CTA_TUPLE_ORIG)), answered(own.nested(CTA_TUPLE_REPLY));
    const auto replace = [&](Bytes what, Bytes by) {
        if (what.size() == by.size()) {
            std::ranges::copy(by, writable(connection.attributes, what).begin());
        }
    };
    if ((status & IPS_SRC_NAT) != 0) {
        more.put(CTA_NAT_SRC, translation(answered.destination(), answered.destination_port()));
        replace(answered.destination(), asked.source());
        replace(answered.destination_port(), asked.source_port());
    }
    if ((status & IPS_DST_NAT) != 0) {
        more.put(CTA_NAT_DST, translation(answered.source(), answered.source_port()));
        replace(answered.source(), asked.destination());
        replace(answered.source_port(), asked.destination_port());
    }
}

// Flags are taken only as far as their mask goes, which the kernel tells as nothing.
void widen_flag_masks(FilterObject& connection) {
    const auto tcp =
        NetlinkAttributes(connection.attributes).nested(CTA_PROTOINFO).nested(CTA_PROTOINFO_TCP);
    for (const auto type : {CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, CTA_PROTOINFO_TCP_FLAGS_REPLY}) {
        const auto flags = tcp.find(static_cast<std::uint16_t>(type));
        if (flags.size() != sizeof(nf_ct_tcp_flags)) continue;
        writable(connection.attributes, flags)[offsetof(nf_ct_tcp_flags, mask)] = std::byte{0xff};
    }
}

FilterObject keep(const NetlinkReply& reply) {
    AttributeList kept, more;
    reply.attributes.for_each([&](std::uint16_t type, Bytes value) {
        if (std::ranges::find(kKept, type) != kKept.end()) kept.put(type, value);
    });
    FilterObject connection = {.kind = FilterObject::Kind::Connection,
                               .family = reply.header_as<nfgenmsg>().nfgen_family,
                               .attributes = std::move(kept).take()};
    const auto status = NetlinkAttributes(connection.attributes).find(CTA_STATUS);
    if (status.size() == sizeof(std::uint32_t)) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, status.data(), sizeof(bits));
        bits = ntohl(bits);
        undo_translation(connection, bits, more);
        // Whose expectation it was, is not carried.
        bits = htonl(bits & ~static_cast<std::uint32_t>(IPS_EXPECTED));
        std::memcpy(writable(connection.attributes, status).data(), &bits, sizeof(bits));
    }
    widen_flag_masks(connection);
    connection.attributes.insert(connection.attributes.end(), more.bytes().begin(),
                                 more.bytes().end());
    return connection;
}

}  // namespace

Result<Connections> read_connections(NetlinkSocket& netlink) {
    // The kernel has one table for all namespaces; to go through it takes a millisecond.
    const auto count = os::read_file(kCount);
    if (!count || *count == "0\n") return Connections();
    Connections connections;
    std::size_t bytes = 0;
    NetlinkMessages message;
    message.begin((NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET, NLM_F_DUMP,
                  netfilter_header(AF_UNSPEC));
    TRY(netlink.query(
        message, sizeof(nfgenmsg),
        [&](const NetlinkReply& reply) -> Result<> {
            connections.push_back(keep(reply));
            bytes += connections.back().attributes.size();
            if (bytes <= limits::kPacketFilterBytesMax) return {};
            return fail(Error::limit("too many tracked connections in the container's network"));
        },
        "read the tracked connections (nf_conntrack)"));
    return connections;
}

Result<> make_connections(NetlinkSocket& netlink, const Connections& connections) {
    if (connections.empty()) return {};
    NetlinkMessages messages;
    for (const FilterObject& connection : connections) {
        const std::uint16_t last = &connection == &connections.back() ? NLM_F_ACK : 0;
        messages.begin((NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_NEW,
                       static_cast<std::uint16_t>(NLM_F_CREATE | last),
                       netfilter_header(connection.family));
        NetlinkAttributes(connection.attributes).for_each([&](std::uint16_t type, Bytes value) {
            messages.put(type, value);
        });
    }
    return netlink.request(messages, "make the tracked connections (nf_conntrack)");
}

}  // namespace ferry::handover
