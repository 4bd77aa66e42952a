#include "handover/rule_expressions.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <netinet/ip.h>

#include <algorithm>
#include <cstddef>

#include "handover/attribute_list.h"

namespace ferry::handover {
namespace {

using Visitor = std::function<void(std::string_view, const NetlinkAttributes&)>;

// NFT_QUOTA_F_DEPLETED, in network byte order as it stands in the attribute.
constexpr std::size_t kDepletedByte = 3;
constexpr std::byte kDepleted{NFT_QUOTA_F_DEPLETED};

std::uint32_t number_of(const NetlinkAttributes& own, std::uint16_t type) {
    return ntohl(own.number<std::uint32_t>(type));
}

void visit_one(const NetlinkAttributes& expression, const Visitor& visit) {
    const std::string name = expression.text(NFTA_EXPR_NAME);
    if (!name.empty()) visit(name, expression.nested(NFTA_EXPR_DATA));
}

void visit_list(const NetlinkAttributes& list, const Visitor& visit) {
    list.for_each([&](std::uint16_t type, std::span<const std::byte> value) {
        if (type == NFTA_LIST_ELEM) visit_one(NetlinkAttributes(value), visit);
    });
}

// Loads the protocol above IP into a register: as `meta l4proto` or from an IPv4 header.
bool loads_protocol(std::string_view name, const NetlinkAttributes& own) {
    if (name == "meta") return number_of(own, NFTA_META_KEY) == NFT_META_L4PROTO;
    return name == "payload" && number_of(own, NFTA_PAYLOAD_BASE) == NFT_PAYLOAD_NETWORK_HEADER &&
           number_of(own, NFTA_PAYLOAD_OFFSET) == offsetof(iphdr, protocol) &&
           number_of(own, NFTA_PAYLOAD_LEN) == 1;
}

}  // namespace

void visit_expressions(const FilterObject& object, const Visitor& visit) {
    const NetlinkAttributes own(object.attributes);
    switch (object.kind) {
        case FilterObject::Kind::Rule:
            return visit_list(own.nested(NFTA_RULE_EXPRESSIONS), visit);
        case FilterObject::Kind::Set:
            visit_one(own.nested(NFTA_SET_EXPR), visit);
            return visit_list(own.nested(NFTA_SET_EXPRESSIONS), visit);
        case FilterObject::Kind::Elements:
            return own.nested(NFTA_SET_ELEM_LIST_ELEMENTS)
                .for_each([&](std::uint16_t, std::span<const std::byte> value) {
                    const NetlinkAttributes element(value);
                    visit_one(element.nested(NFTA_SET_ELEM_EXPR), visit);
                    visit_list(element.nested(NFTA_SET_ELEM_EXPRESSIONS), visit);
                });
        case FilterObject::Kind::Object:
            if (number_of(own, NFTA_OBJ_TYPE) == NFT_OBJECT_QUOTA) {
                visit("quota", own.nested(NFTA_OBJ_DATA));
            }
            return;
        default:
            return;
    }
}

std::vector<std::string> chains_called(const FilterObject& rule) {
    std::vector<std::string> chains;
    visit_expressions(rule, [&](std::string_view name, const NetlinkAttributes& own) {
        if (name != "immediate") return;
        const auto verdict = own.nested(NFTA_IMMEDIATE_DATA).nested(NFTA_DATA_VERDICT);
        if (verdict.has(NFTA_VERDICT_CHAIN)) chains.push_back(verdict.text(NFTA_VERDICT_CHAIN));
    });
    return chains;
}

void limit_quotas(FilterObject& object) {
    visit_expressions(object, [&](std::string_view name, const NetlinkAttributes& own) {
        if (name != "quota") return;
        const auto flags = own.find(NFTA_QUOTA_FLAGS);
        if (flags.size() > kDepletedByte) {
            writable(object.attributes, flags)[kDepletedByte] &= ~kDepleted;
        }
        const auto most = own.find(NFTA_QUOTA_BYTES), used = own.find(NFTA_QUOTA_CONSUMED);
        // In network byte order: as they compare as numbers.
        if (most.size() == used.size() && std::ranges::lexicographical_compare(most, used)) {
            std::ranges::copy(most, writable(object.attributes, used).begin());
        }
    });
}

std::vector<std::byte> compatibility_of(const FilterObject& rule) {
    bool is_needed = false, is_loaded = false;
    std::uint32_t protocol = 0, flags = 0;
    visit_expressions(rule, [&](std::string_view name, const NetlinkAttributes& own) {
        is_needed = is_needed || name == "match" || name == "target";
        const auto value = own.nested(NFTA_CMP_DATA).find(NFTA_DATA_VALUE);
        if (is_loaded && name == "cmp" && value.size() == 1) {
            protocol = std::to_integer<std::uint32_t>(value.front());
            flags = number_of(own, NFTA_CMP_OP) == NFT_CMP_NEQ ? NFT_RULE_COMPAT_F_INV : 0;
        }
        is_loaded = loads_protocol(name, own);
    });
    AttributeList content;
    if (!is_needed) return {};
    content.put_number(NFTA_RULE_COMPAT_PROTO, htonl(protocol));
    content.put_number(NFTA_RULE_COMPAT_FLAGS, htonl(flags));
    return std::move(content).take();
}

}  // namespace ferry::handover
