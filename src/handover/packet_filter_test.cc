// Packet filters as bytes, and what in them the kernel does not take back as it tells it.
#include "handover/packet_filter.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>

#include "handover/attribute_list.h"
#include "handover/rule_expressions.h"

namespace ferry::handover {
namespace {

std::span<const std::byte> text(std::string_view value) {
    return std::as_bytes(std::span(value.data(), value.size() + 1));
}

// One expression of a rule, with its own attributes.
void put_expression(AttributeList& rule, const char* name, const AttributeList& own) {
    AttributeList expression;
    expression.put(NFTA_EXPR_NAME, text(name));
    expression.put(NFTA_EXPR_DATA, own.bytes());
    rule.put(NFTA_LIST_ELEM, expression.bytes());
}

FilterObject rule_of(const AttributeList& expressions) {
    AttributeList rule;
    rule.put(NFTA_RULE_EXPRESSIONS, expressions.bytes());
    return {.kind = FilterObject::Kind::Rule, .family = 0, .attributes = std::move(rule).take()};
}

std::uint64_t big_endian(std::uint64_t value) {
    return __builtin_bswap64(value);
}

TEST(PacketFilter, HostileBytesAreRefused) {
    const auto decode = [](std::vector<std::uint8_t> bytes) {
        return decode_filter(std::as_bytes(std::span(bytes)));
    };
    EXPECT_TRUE(decode({}));
    EXPECT_TRUE(decode({1, 1, 0, 0, 0, 0, 0, 0}));
    EXPECT_FALSE(decode({1, 1, 0, 0, 0, 0, 0}));
    EXPECT_FALSE(decode({0, 1, 0, 0, 0, 0, 0, 0}));
    EXPECT_FALSE(decode({9, 1, 0, 0, 0, 0, 0, 0}));
    EXPECT_FALSE(decode({1, 1, 1, 0, 0, 0, 0, 0}));
    EXPECT_FALSE(decode({1, 1, 0, 0, 1, 0, 0, 0}));
    EXPECT_FALSE(decode({1, 1, 0, 0, 255, 255, 255, 255}));
}

TEST(PacketFilter, RulesAndConnectionsKeepTheirOrder) {
    PacketFilter filter;
    filter.ruleset.push_back({.kind = FilterObject::Kind::Table, .family = 1, .attributes = {}});
    filter.ruleset.push_back(
        {.kind = FilterObject::Kind::Rule, .family = 2, .attributes = {std::byte{7}}});
    filter.connections.push_back(
        {.kind = FilterObject::Kind::Connection, .family = 10, .attributes = {std::byte{9}}});
    const std::string bytes = encode_filter(filter);
    const auto decoded = decode_filter(std::as_bytes(std::span(bytes)));
    ASSERT_TRUE(decoded);
    EXPECT_EQ(*decoded, filter);
}

TEST(PacketFilter, AQuotaIsUsedUpAtMost) {
    AttributeList own, expressions;
    own.put_number(NFTA_QUOTA_BYTES, big_endian(100));
    own.put_number(NFTA_QUOTA_FLAGS, htonl(NFT_QUOTA_F_INV | NFT_QUOTA_F_DEPLETED));
    own.put_number(NFTA_QUOTA_CONSUMED, big_endian(0x1234));
    put_expression(expressions, "quota", own);
    FilterObject rule = rule_of(expressions);
    limit_quotas(rule);
    int seen = 0;
    visit_expressions(rule, [&](std::string_view name, const NetlinkAttributes& quota) {
        ++seen;
        EXPECT_EQ(name, "quota");
        EXPECT_EQ(quota.number<std::uint64_t>(NFTA_QUOTA_BYTES), big_endian(100));
        EXPECT_EQ(quota.number<std::uint64_t>(NFTA_QUOTA_CONSUMED), big_endian(100));
        EXPECT_EQ(ntohl(quota.number<std::uint32_t>(NFTA_QUOTA_FLAGS)), NFT_QUOTA_F_INV);
    });
    EXPECT_EQ(seen, 1);
}

// `-p tcp` and `! -p tcp` of iptables, before a match of its own.
TEST(PacketFilter, AMatchOfIptablesHasTheProtocolThatItsRuleComparesWith) {
    const auto rule = [](std::uint32_t comparison, bool with_match) {
        AttributeList load, value, compare, expressions;
        load.put_number(NFTA_META_KEY, htonl(NFT_META_L4PROTO));
        put_expression(expressions, "meta", load);
        value.put_number(NFTA_DATA_VALUE, std::uint8_t{IPPROTO_TCP});
        compare.put_number(NFTA_CMP_OP, htonl(comparison));
        compare.put(NFTA_CMP_DATA, value.bytes());
        put_expression(expressions, "cmp", compare);
        if (with_match) put_expression(expressions, "match", {});
        return rule_of(expressions);
    };
    EXPECT_TRUE(compatibility_of(rule(NFT_CMP_EQ, false)).empty());
    for (const auto& [comparison, flags] : {std::pair<std::uint32_t, std::uint32_t>(NFT_CMP_EQ, 0),
                                            {NFT_CMP_NEQ, NFT_RULE_COMPAT_F_INV}}) {
        const auto content = compatibility_of(rule(comparison, true));
        const NetlinkAttributes compatibility(content);
        EXPECT_EQ(ntohl(compatibility.number<std::uint32_t>(NFTA_RULE_COMPAT_PROTO)), IPPROTO_TCP);
        EXPECT_EQ(ntohl(compatibility.number<std::uint32_t>(NFTA_RULE_COMPAT_FLAGS)), flags);
    }
}

}  // namespace
}  // namespace ferry::handover
