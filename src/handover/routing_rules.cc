#include "handover/routing_rules.h"

#include <fmt/format.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace ferry::handover {
namespace {

// The selectors that RoutingRule has, and what carries no meaning of its own.
constexpr std::array<std::uint16_t, 11> kKnown = {
    FRA_DST,    FRA_SRC,   FRA_IIFNAME, FRA_OIFNAME,  FRA_PRIORITY,
    FRA_FWMARK, FRA_TABLE, FRA_FWMASK,  FRA_PROTOCOL, FRA_SUPPRESS_PREFIXLEN,
    FRA_PAD};

std::optional<IpAddress> address_in(const NetlinkAttributes& attributes, std::uint16_t type) {
    const auto value = attributes.find(type);
    if (value.size() != 4 && value.size() != 16) return std::nullopt;
    IpAddress address;
    address.family = value.size() == 4 ? AF_INET : AF_INET6;
    std::ranges::copy(
        value, std::as_writable_bytes(std::span(address.octets)).first(value.size()).begin());
    return address;
}

Result<RoutingRule> read_rule(const NetlinkReply& reply) {
    const auto header = reply.header_as<fib_rule_hdr>();
    const auto& attributes = reply.attributes;
    RoutingRule rule = {
        .family = header.family,
        .action = header.action,
        .tos = header.tos,
        .protocol = attributes.number<std::uint8_t>(FRA_PROTOCOL),
        .inverted = (header.flags & FIB_RULE_INVERT) != 0,
        .priority = attributes.number<std::uint32_t>(FRA_PRIORITY),
        .table = attributes.number<std::uint32_t>(FRA_TABLE, header.table),
        .mark = attributes.number<std::uint32_t>(FRA_FWMARK),
        .mark_mask = attributes.number<std::uint32_t>(FRA_FWMASK),
        .suppress_prefix_length =
            attributes.number<std::uint32_t>(FRA_SUPPRESS_PREFIXLEN, 0xffffffff),
        .source = address_in(attributes, FRA_SRC),
        .destination = address_in(attributes, FRA_DST),
        .source_length = header.src_len,
        .destination_length = header.dst_len,
        .input = attributes.text(FRA_IIFNAME),
        .output = attributes.text(FRA_OIFNAME),
    };
    bool odd = false;
    attributes.for_each([&](std::uint16_t type, auto) {
        odd = odd || std::ranges::find(kKnown, type) == kKnown.end();
    });
    if (odd) {
        return fail(Error::unsupported(
            fmt::format("routing rule {} (ip rule) selects by something that cannot be carried",
                        rule.priority)));
    }
    return rule;
}

NetlinkMessages message_of(const RoutingRule& rule, std::uint16_t type, std::uint16_t flags) {
    fib_rule_hdr header = {};
    header.family = static_cast<std::uint8_t>(rule.family);
    header.dst_len = rule.destination_length;
    header.src_len = rule.source_length;
    header.tos = rule.tos;
    header.table = RT_TABLE_UNSPEC;  // FRA_TABLE says it, with room for more than 255.
    header.action = rule.action;
    header.flags = rule.inverted ? FIB_RULE_INVERT : 0;
    NetlinkMessages m;
    m.begin(type, static_cast<std::uint16_t>(flags | NLM_F_ACK), header);
    m.put_number(FRA_PRIORITY, rule.priority);
    m.put_number(FRA_TABLE, rule.table);
    m.put_number(FRA_PROTOCOL, rule.protocol);
    if (rule.mark != 0 || rule.mark_mask != 0) {
        m.put_number(FRA_FWMARK, rule.mark);
        m.put_number(FRA_FWMASK, rule.mark_mask);
    }
    if (rule.suppress_prefix_length != 0xffffffff) {
        m.put_number(FRA_SUPPRESS_PREFIXLEN, rule.suppress_prefix_length);
    }
    if (rule.source) m.put_bytes(FRA_SRC, rule.source->bytes());
    if (rule.destination) m.put_bytes(FRA_DST, rule.destination->bytes());
    if (!rule.input.empty()) m.put_string(FRA_IIFNAME, rule.input);
    if (!rule.output.empty()) m.put_string(FRA_OIFNAME, rule.output);
    return m;
}

// The rules of `from` that are not in `other`, as often as they are missing there.
std::vector<RoutingRule> without(const std::vector<RoutingRule>& from,
                                 std::vector<RoutingRule> other) {
    std::vector<RoutingRule> rest;
    for (const RoutingRule& rule : from) {
        const auto same = std::ranges::find(other, rule);
        if (same == other.end()) {
            rest.push_back(rule);
        } else {
            other.erase(same);
        }
    }
    return rest;
}

}  // namespace

Result<std::vector<RoutingRule>> list_rules(NetlinkSocket& netlink) {
    std::vector<RoutingRule> rules;
    for (const int family : {AF_INET, AF_INET6}) {
        NetlinkMessages message;
        fib_rule_hdr header = {};
        header.family = static_cast<std::uint8_t>(family);
        message.begin(RTM_GETRULE, NLM_F_DUMP, header);
        const auto listed = netlink.query(
            message, sizeof(fib_rule_hdr),
            [&](const NetlinkReply& reply) -> Result<> {
                rules.push_back(TRY(read_rule(reply)));
                return {};
            },
            "list routing rules");
        // A kernel without IPv6.
        if (!listed && listed.error().code() == EAFNOSUPPORT) continue;
        if (!listed) return fail(listed.error());
    }
    return rules;
}

Result<> make_rules(NetlinkSocket& netlink, const std::vector<RoutingRule>& wanted) {
    const auto present = TRY(list_rules(netlink));
    for (const RoutingRule& rule : without(wanted, present)) {
        TRY(netlink.request(message_of(rule, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL),
                            fmt::format("add routing rule {}", rule.priority)));
    }
    for (const RoutingRule& rule : without(present, wanted)) {
        TRY(netlink.request(message_of(rule, RTM_DELRULE, 0),
                            fmt::format("remove routing rule {}", rule.priority)));
    }
    return {};
}

}  // namespace ferry::handover
