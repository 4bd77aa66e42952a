#include "handover/nftables.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cstddef>
#include <utility>

namespace ferry::handover {
namespace {

constexpr std::uint8_t kSynMask = TH_SYN | TH_ACK;
constexpr std::uint32_t kTcpFlagsOffset = 13;
constexpr std::uint32_t kTcpSourcePortOffset = 0;
constexpr std::uint32_t kTcpDestinationPortOffset = 2;

// struct ether_arp of netinet/if_ether.h
constexpr std::uint32_t kArpSenderOffset = offsetof(ether_arp, arp_spa);
constexpr std::uint32_t kArpTargetOffset = offsetof(ether_arp, arp_tpa);

std::array<std::uint8_t, 2> port_bytes(std::uint16_t port) {
    return {static_cast<std::uint8_t>(port >> 8), static_cast<std::uint8_t>(port & 0xff)};
}

}  // namespace

nfgenmsg netfilter_header(std::uint8_t family, std::uint16_t resource) {
    return {.nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(resource)};
}

void NftRule::meta_equals(std::uint32_t key, std::span<const std::uint8_t> value) {
    expressions_.push_back({.kind = Expression::Kind::MetaLoad, .a = key});
    Expression compare = {.kind = Expression::Kind::Equals, .size = value.size()};
    std::ranges::copy(value, compare.data.begin());
    expressions_.push_back(compare);
}

void NftRule::payload_equals(std::uint32_t base, std::uint32_t offset,
                             std::span<const std::uint8_t> value) {
    expressions_.push_back({.kind = Expression::Kind::PayloadLoad,
                            .a = base,
                            .b = offset,
                            .c = static_cast<std::uint32_t>(value.size())});
    Expression compare = {.kind = Expression::Kind::Equals, .size = value.size()};
    std::ranges::copy(value, compare.data.begin());
    expressions_.push_back(compare);
}

void NftRule::match_family(const IpAddress& address) {
    const std::array<std::uint8_t, 1> family = {
        address.family == AF_INET ? std::uint8_t{NFPROTO_IPV4} : std::uint8_t{NFPROTO_IPV6}};
    meta_equals(NFT_META_NFPROTO, family);
}

void NftRule::match_tcp() {
    const std::array<std::uint8_t, 1> tcp = {IPPROTO_TCP};
    meta_equals(NFT_META_L4PROTO, tcp);
}

NftRule& NftRule::match_mark(std::uint32_t mark) {
    std::array<std::uint8_t, sizeof(mark)> bytes;  // Marks are compared in host byte order.
    std::ranges::copy(std::as_bytes(std::span(&mark, 1)),
                      std::as_writable_bytes(std::span(bytes)).begin());
    meta_equals(NFT_META_MARK, bytes);
    return *this;
}

NftRule& NftRule::match_source(const IpAddress& address) {
    match_family(address);
    payload_equals(NFT_PAYLOAD_NETWORK_HEADER,
                   address.family == AF_INET ? offsetof(iphdr, saddr) : offsetof(ip6_hdr, ip6_src),
                   address.bytes());
    return *this;
}

NftRule& NftRule::match_destination(const IpAddress& address) {
    match_family(address);
    payload_equals(NFT_PAYLOAD_NETWORK_HEADER,
                   address.family == AF_INET ? offsetof(iphdr, daddr) : offsetof(ip6_hdr, ip6_dst),
                   address.bytes());
    return *this;
}

NftRule& NftRule::match_tcp_source_port(std::uint16_t port) {
    match_tcp();
    payload_equals(NFT_PAYLOAD_TRANSPORT_HEADER, kTcpSourcePortOffset, port_bytes(port));
    return *this;
}

NftRule& NftRule::match_tcp_destination_port(std::uint16_t port) {
    match_tcp();
    payload_equals(NFT_PAYLOAD_TRANSPORT_HEADER, kTcpDestinationPortOffset, port_bytes(port));
    return *this;
}

NftRule& NftRule::match_arp_target(const IpAddress& address) {
    payload_equals(NFT_PAYLOAD_NETWORK_HEADER, kArpTargetOffset, address.bytes());
    return *this;
}

NftRule& NftRule::match_arp_sender(const IpAddress& address) {
    payload_equals(NFT_PAYLOAD_NETWORK_HEADER, kArpSenderOffset, address.bytes());
    return *this;
}

NftRule& NftRule::match_tcp_syn() {
    match_tcp();
    expressions_.push_back({.kind = Expression::Kind::PayloadLoad,
                            .a = NFT_PAYLOAD_TRANSPORT_HEADER,
                            .b = kTcpFlagsOffset,
                            .c = 1});
    expressions_.push_back({.kind = Expression::Kind::Mask, .data = {kSynMask}, .size = 1});
    expressions_.push_back({.kind = Expression::Kind::Equals, .data = {TH_SYN}, .size = 1});
    return *this;
}

NftBatch::NftBatch() {
    messages_.begin(NFNL_MSG_BATCH_BEGIN, 0, netfilter_header(AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
}

void NftBatch::begin(std::uint16_t message, std::uint16_t flags, std::uint8_t family) {
    // Every message asks for its acknowledgement: then whichever is the last one decides.
    messages_.begin(static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | message),
                    static_cast<std::uint16_t>(flags | NLM_F_ACK), netfilter_header(family));
}

NftBatch& NftBatch::add_table(const NftTable& table, NftOwner owner) {
    begin(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, table.family);
    messages_.put_string(NFTA_TABLE_NAME, table.name);
    messages_.put_big_endian(NFTA_TABLE_FLAGS,
                             owner == NftOwner::Yes ? std::uint32_t{NFT_TABLE_F_OWNER} : 0);
    return *this;
}

NftBatch& NftBatch::replace_table(const NftTable& table, NftOwner owner) {
    // A table can only be deleted if there is one: so it is made first, without insisting on
    // newness.
    begin(NFT_MSG_NEWTABLE, NLM_F_CREATE, table.family);
    messages_.put_string(NFTA_TABLE_NAME, table.name);
    messages_.put_big_endian(NFTA_TABLE_FLAGS, 0);
    return delete_table(table).add_table(table, owner);
}

NftBatch& NftBatch::delete_table(const NftTable& table) {
    begin(NFT_MSG_DELTABLE, 0, table.family);
    messages_.put_string(NFTA_TABLE_NAME, table.name);
    return *this;
}

NftBatch& NftBatch::add_chain(const NftTable& table, const NftChain& chain) {
    begin(NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL, table.family);
    messages_.put_string(NFTA_CHAIN_TABLE, table.name);
    messages_.put_string(NFTA_CHAIN_NAME, chain.name);
    messages_.nest(NFTA_CHAIN_HOOK, [&] {
        messages_.put_big_endian(NFTA_HOOK_HOOKNUM, chain.hook);
        messages_.put_big_endian(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(chain.priority));
        if (!chain.device.empty()) messages_.put_string(NFTA_HOOK_DEV, chain.device);
    });
    messages_.put_string(NFTA_CHAIN_TYPE, "filter");
    messages_.put_big_endian(NFTA_CHAIN_POLICY, chain.drops ? NF_DROP : NF_ACCEPT);
    return *this;
}

NftBatch& NftBatch::set_policy(const NftTable& table, const std::string& chain, bool drops) {
    begin(NFT_MSG_NEWCHAIN, 0, table.family);
    messages_.put_string(NFTA_CHAIN_TABLE, table.name);
    messages_.put_string(NFTA_CHAIN_NAME, chain);
    messages_.put_big_endian(NFTA_CHAIN_POLICY, drops ? NF_DROP : NF_ACCEPT);
    return *this;
}

NftBatch& NftBatch::flush_chain(const NftTable& table, const std::string& chain) {
    begin(NFT_MSG_DELRULE, 0, table.family);
    messages_.put_string(NFTA_RULE_TABLE, table.name);
    messages_.put_string(NFTA_RULE_CHAIN, chain);
    return *this;
}

void NftBatch::put_expression(const NftRule::Expression& expression) {
    using Kind = NftRule::Expression::Kind;
    const auto value = std::span(expression.data).first(expression.size);
    const auto put_data = [&](std::uint16_t attribute, std::span<const std::uint8_t> bytes) {
        messages_.nest(attribute, [&] { messages_.put_bytes(NFTA_DATA_VALUE, bytes); });
    };
    const auto put_kind = [&](const char* name, auto fill) {
        messages_.nest(NFTA_LIST_ELEM, [&] {
            messages_.put_string(NFTA_EXPR_NAME, name);
            messages_.nest(NFTA_EXPR_DATA, fill);
        });
    };
    switch (expression.kind) {
        case Kind::MetaLoad:
            return put_kind("meta", [&] {
                messages_.put_big_endian(NFTA_META_KEY, expression.a);
                messages_.put_big_endian(NFTA_META_DREG, NFT_REG_1);
            });
        case Kind::PayloadLoad:
            return put_kind("payload", [&] {
                messages_.put_big_endian(NFTA_PAYLOAD_DREG, NFT_REG_1);
                messages_.put_big_endian(NFTA_PAYLOAD_BASE, expression.a);
                messages_.put_big_endian(NFTA_PAYLOAD_OFFSET, expression.b);
                messages_.put_big_endian(NFTA_PAYLOAD_LEN, expression.c);
            });
        case Kind::Mask:
            return put_kind("bitwise", [&] {
                messages_.put_big_endian(NFTA_BITWISE_SREG, NFT_REG_1);
                messages_.put_big_endian(NFTA_BITWISE_DREG, NFT_REG_1);
                messages_.put_big_endian(NFTA_BITWISE_LEN,
                                         static_cast<std::uint32_t>(expression.size));
                put_data(NFTA_BITWISE_MASK, value);
                const std::array<std::uint8_t, 16> zeros{};
                put_data(NFTA_BITWISE_XOR, std::span(zeros).first(expression.size));
            });
        case Kind::Equals:
            return put_kind("cmp", [&] {
                messages_.put_big_endian(NFTA_CMP_SREG, NFT_REG_1);
                messages_.put_big_endian(NFTA_CMP_OP, NFT_CMP_EQ);
                put_data(NFTA_CMP_DATA, value);
            });
    }
}

NftBatch& NftBatch::add_rule(const NftTable& table, const std::string& chain, const NftRule& rule,
                             NftRule::Verdict verdict) {
    begin(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, table.family);
    messages_.put_string(NFTA_RULE_TABLE, table.name);
    messages_.put_string(NFTA_RULE_CHAIN, chain);
    messages_.nest(NFTA_RULE_EXPRESSIONS, [&] {
        for (const auto& expression : rule.expressions_) put_expression(expression);
        messages_.nest(NFTA_LIST_ELEM, [&] {
            messages_.put_string(NFTA_EXPR_NAME, "immediate");
            messages_.nest(NFTA_EXPR_DATA, [&] {
                messages_.put_big_endian(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
                messages_.nest(NFTA_IMMEDIATE_DATA, [&] {
                    messages_.nest(NFTA_DATA_VERDICT, [&] {
                        messages_.put_big_endian(NFTA_VERDICT_CODE, std::to_underlying(verdict));
                    });
                });
            });
        });
    });
    return *this;
}

NftBatch& NftBatch::add_object(std::uint16_t message, std::uint16_t flags, std::uint8_t family,
                               std::span<const std::byte> attributes,
                               std::span<const std::byte> more) {
    begin(message, flags, family);
    for (const auto& list : {attributes, more}) {
        NetlinkAttributes(list).for_each([&](std::uint16_t type, std::span<const std::byte> value) {
            messages_.put(type, value);
        });
    }
    return *this;
}

NetlinkMessages NftBatch::finish() {
    messages_.begin(NFNL_MSG_BATCH_END, 0, netfilter_header(AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
    return std::move(messages_);
}

}  // namespace ferry::handover
