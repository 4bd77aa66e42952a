#include "handover/packet_filter.h"

#include <fmt/format.h>

#include <cstring>

#include "base/limits.h"
#include "handover/netlink.h"
#include "handover/ruleset.h"
#include "handover/tracked_connections.h"
#include "os/fd.h"

namespace ferry::handover {
namespace {

struct ObjectHeader {
    std::uint8_t kind = 0, family = 0;
    std::uint16_t reserved = 0;
    std::uint32_t length = 0;
};
static_assert(sizeof(ObjectHeader) == 8);

void append(const FilterObject& object, std::string& to) {
    const ObjectHeader header = {.kind = static_cast<std::uint8_t>(object.kind),
                                 .family = object.family,
                                 .length = static_cast<std::uint32_t>(object.attributes.size())};
    to.append(reinterpret_cast<const char*>(&header), sizeof(header));
    to.append(reinterpret_cast<const char*>(object.attributes.data()), object.attributes.size());
}

// Their rules have no form but that of one machine.
Result<> refuse_old_tables() {
    for (const char* kind : {"ip", "ip6", "arp"}) {
        const auto names =
            os::read_file(fmt::format("/proc/thread-self/net/{}_tables_names", kind));
        if (!names || names->empty()) continue;
        return fail(Error::unsupported(fmt::format(
            "the container's network has packet filter rules ({}tables-legacy table {})", kind,
            names->substr(0, names->find('\n')))));
    }
    return {};
}

std::unexpected<Error> corrupt(const char* what) {
    return fail(Error::corrupt(fmt::format("packet filter: {}", what)));
}

}  // namespace

Result<PacketFilter> read_packet_filter() {
    TRY(refuse_old_tables());
    auto netlink = TRY(NetlinkSocket::open(NETLINK_NETFILTER));
    return PacketFilter{.ruleset = TRY(read_ruleset(netlink)),
                        .connections = TRY(read_connections(netlink))};
}

Result<> load_ruleset(const PacketFilter& filter) {
    auto netlink = TRY(NetlinkSocket::open(NETLINK_NETFILTER));
    return replace_ruleset(netlink, filter.ruleset);
}

Result<> make_connections(const PacketFilter& filter) {
    auto netlink = TRY(NetlinkSocket::open(NETLINK_NETFILTER));
    return make_connections(netlink, filter.connections);
}

Result<> check_ruleset(const PacketFilter& filter) {
    auto netlink = TRY(NetlinkSocket::open(NETLINK_NETFILTER));
    const auto wanted = comparable(filter.ruleset);
    const auto made = comparable(TRY(read_ruleset(netlink)));
    if (made == wanted) return {};
    return fail(Error::unsupported(
        "the kernel here takes the container's packet filter for another one (an older kernel "
        "than the source's?)"));
}

std::string encode_filter(const PacketFilter& filter) {
    std::string encoded;
    for (const FilterObject& object : filter.ruleset) append(object, encoded);
    for (const FilterObject& connection : filter.connections) append(connection, encoded);
    return encoded;
}

Result<PacketFilter> decode_filter(std::span<const std::byte> bytes) {
    if (bytes.size() > limits::kWireFrameBytesMax) return corrupt("too long");
    PacketFilter filter;
    while (!bytes.empty()) {
        ObjectHeader header;
        if (bytes.size() < sizeof(header)) return corrupt("cut off");
        std::memcpy(&header, bytes.data(), sizeof(header));
        bytes = bytes.subspan(sizeof(header));
        const auto kind = static_cast<FilterObject::Kind>(header.kind);
        const bool is_known =
            kind >= FilterObject::Kind::Table && kind <= FilterObject::Kind::Connection;
        if (!is_known || header.reserved != 0) return corrupt("an object of no known kind");
        if (header.length > bytes.size()) return corrupt("cut off");
        const auto attributes = bytes.first(header.length);
        auto& into = kind == FilterObject::Kind::Connection ? filter.connections : filter.ruleset;
        into.push_back({.kind = kind,
                        .family = header.family,
                        .attributes = {attributes.begin(), attributes.end()}});
        bytes = bytes.subspan(header.length);
    }
    return filter;
}

}  // namespace ferry::handover
