// What filters and follows the packets of a network namespace: its nftables ruleset, and the
// connections that the kernel tracks there (nf_conntrack). Both are carried as the kernel tells
// them and handed to the other kernel as they are, but for what is only an answer (handles, counts
// of users). A ruleset is thus the same to the last expression, whoever made it (nft,
// iptables-nft, firewalld) and whether any program on either host could read it; sets come with
// their elements and the time that is left of these, counters and quotas as they stand.
//
// Of a connection the addresses, state, window scales, time left, marks, labels, zone, helper and
// address translation are carried. Where its windows stand the kernel tells nobody: it takes that
// from the next packet of each side, as it does for connections that conntrackd has brought. Not
// carried: counts of packets and bytes, and connections that a helper expects.
//
// Ferry's own tables (nftables.h) are neither read nor touched. All functions work in the calling
// thread's network namespace; reading takes the kernel some microseconds for each object, element
// of a set and connection.
//
// Source relied upon: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink_conntrack.h, nft(8),
// net/netfilter/nf_tables_api.c and nf_conntrack_netlink.c of Linux 6.1 to 6.18.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace ferry::handover {

// The netlink attributes that make one of them.
struct FilterObject {
    // Numbers of the encoding: fixed for ever.
    enum class Kind : std::uint8_t {
        Table = 1,
        Chain = 2,
        Object = 3,  // a named counter, quota, limit, ...
        FlowTable = 4,
        Set = 5,
        Elements = 6,  // of one set, as many as one message holds
        Rule = 7,
        Connection = 8,
    };
    Kind kind = Kind::Table;
    std::uint8_t family = 0;  // NFPROTO_*; of a connection AF_*
    std::vector<std::byte> attributes = {};
    bool operator==(const FilterObject&) const = default;
};

struct PacketFilter {
    std::vector<FilterObject> ruleset = {};  // in an order in which they can be made
    std::vector<FilterObject> connections = {};
    bool operator==(const PacketFilter&) const = default;
    [[nodiscard]] bool empty() const { return ruleset.empty() && connections.empty(); }
};

// Unsupported, by name: a table that belongs to a program's socket, rules of the old iptables.
// Limit: more than limits::kPacketFilterBytesMax, or a ruleset that never stands still.
Result<PacketFilter> read_packet_filter();

// Replaces the ruleset of the namespace, in one transaction. Unsupported: the kernel here does not
// take it, with the object that it refuses; the ruleset is then what it was. Where there was
// another one this takes milliseconds, and else microseconds.
Result<> load_ruleset(const PacketFilter& filter);
// Whether the kernel here has understood all of a ruleset that was just loaded (attributes that it
// does not know, an old kernel ignores): Unsupported when it tells it otherwise. To be asked before
// any packet comes, which would move counters.
Result<> check_ruleset(const PacketFilter& filter);
// One that is tracked already is brought up to date, but for its translation.
Result<> make_connections(const PacketFilter& filter);

// For each object u8 kind, u8 family, u16 0, u32 length, attributes; numbers are little-endian.
// decode validates the frame (I3); the attributes are the kernel's to check.
[[nodiscard]] std::string encode_filter(const PacketFilter& filter);
Result<PacketFilter> decode_filter(std::span<const std::byte> bytes);

}  // namespace ferry::handover
