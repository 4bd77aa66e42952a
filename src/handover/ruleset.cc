#include "handover/ruleset.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "base/limits.h"
#include "handover/attribute_list.h"
#include "handover/nftables.h"
#include "handover/rule_expressions.h"

namespace ferry::handover {
namespace {

using Kind = FilterObject::Kind;
using Ruleset = std::vector<FilterObject>;

// Whoever changes a ruleset in a loop can be waited for no longer.
constexpr int kReadingsMax = 50;
// Netlink's length of an attribute has 16 bits.
constexpr std::size_t kElementsBytesMax = 32 << 10;
// The table's name is the first attribute of all of them.
constexpr std::uint16_t kTableName = 1;

// How one kind of object is asked for and made, and which of its attributes make it.
struct Description {
    Kind kind;
    const char* name;
    std::uint16_t asked, made, flags;
    std::uint16_t own_name;  // the attribute with its name, or with its chain's
    std::array<std::uint16_t, 13> kept;
};

constexpr std::array<Description, 7> kDescriptions = {{
    {Kind::Table,
     "table",
     NFT_MSG_GETTABLE,
     NFT_MSG_NEWTABLE,
     NLM_F_CREATE,
     NFTA_TABLE_NAME,
     {NFTA_TABLE_NAME, NFTA_TABLE_FLAGS, NFTA_TABLE_USERDATA}},
    {Kind::Chain,
     "chain",
     NFT_MSG_GETCHAIN,
     NFT_MSG_NEWCHAIN,
     NLM_F_CREATE | NLM_F_EXCL,
     NFTA_CHAIN_NAME,
     {NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY, NFTA_CHAIN_TYPE,
      NFTA_CHAIN_COUNTERS, NFTA_CHAIN_FLAGS, NFTA_CHAIN_USERDATA}},
    {Kind::Object,
     "object",
     NFT_MSG_GETOBJ,
     NFT_MSG_NEWOBJ,
     NLM_F_CREATE | NLM_F_EXCL,
     NFTA_OBJ_NAME,
     {NFTA_OBJ_TABLE, NFTA_OBJ_NAME, NFTA_OBJ_TYPE, NFTA_OBJ_DATA, NFTA_OBJ_USERDATA}},
    {Kind::FlowTable,
     "flow table",
     NFT_MSG_GETFLOWTABLE,
     NFT_MSG_NEWFLOWTABLE,
     NLM_F_CREATE | NLM_F_EXCL,
     NFTA_FLOWTABLE_NAME,
     {NFTA_FLOWTABLE_TABLE, NFTA_FLOWTABLE_NAME, NFTA_FLOWTABLE_HOOK, NFTA_FLOWTABLE_FLAGS}},
    {Kind::Set,
     "set",
     NFT_MSG_GETSET,
     NFT_MSG_NEWSET,
     NLM_F_CREATE | NLM_F_EXCL,
     NFTA_SET_NAME,
     {NFTA_SET_TABLE, NFTA_SET_NAME, NFTA_SET_FLAGS, NFTA_SET_KEY_TYPE, NFTA_SET_KEY_LEN,
      NFTA_SET_DATA_TYPE, NFTA_SET_DATA_LEN, NFTA_SET_POLICY, NFTA_SET_DESC, NFTA_SET_TIMEOUT,
      NFTA_SET_GC_INTERVAL, NFTA_SET_USERDATA, NFTA_SET_OBJ_TYPE}},
    {Kind::Elements,
     "elements of set",
     NFT_MSG_GETSETELEM,
     NFT_MSG_NEWSETELEM,
     NLM_F_CREATE,
     NFTA_SET_ELEM_LIST_SET,
     {NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS}},
    {Kind::Rule,
     "rule of chain",
     NFT_MSG_GETRULE,
     NFT_MSG_NEWRULE,
     NLM_F_CREATE | NLM_F_APPEND,
     NFTA_RULE_CHAIN,
     {NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_USERDATA}},
}};

// A set's own expressions, beside what there is room for above.
constexpr std::array<std::uint16_t, 2> kSetExpressions = {NFTA_SET_EXPR, NFTA_SET_EXPRESSIONS};

const Description& description_of(Kind kind) {
    return *std::ranges::find(kDescriptions, kind, &Description::kind);
}

// Names are unique in a table, and those of tables in a family.
struct Name {
    std::uint8_t family = 0;
    std::string table, own;
    auto operator<=>(const Name&) const = default;
};

Name name_of(const FilterObject& object) {
    const NetlinkAttributes attributes(object.attributes);
    return {.family = object.family,
            .table = attributes.text(kTableName),
            .own = attributes.text(description_of(object.kind).own_name)};
}

std::uint32_t flags_of(const FilterObject& object, std::uint16_t attribute) {
    return ntohl(NetlinkAttributes(object.attributes).number<std::uint32_t>(attribute));
}

const char* family_name(std::uint8_t family) {
    switch (family) {
        case NFPROTO_INET:
            return "inet";
        case NFPROTO_IPV4:
            return "ip";
        case NFPROTO_IPV6:
            return "ip6";
        case NFPROTO_ARP:
            return "arp";
        case NFPROTO_BRIDGE:
            return "bridge";
        case NFPROTO_NETDEV:
            return "netdev";
        default:
            return "unknown";
    }
}

std::string describe(const FilterObject& object) {
    const Name name = name_of(object);
    const auto* const kind = description_of(object.kind).name;
    if (object.kind == Kind::Table) {
        return fmt::format("table {} {}", family_name(name.family), name.table);
    }
    return fmt::format("{} {} in table {} {}", kind, name.own, family_name(name.family),
                       name.table);
}

FilterObject keep(const Description& description, const NetlinkReply& reply) {
    AttributeList kept;
    const auto wants = [&](std::uint16_t type) {
        const bool is_of_set = description.kind == Kind::Set &&
                               std::ranges::find(kSetExpressions, type) != kSetExpressions.end();
        return type != 0 &&
               (is_of_set || std::ranges::find(description.kept, type) != description.kept.end());
    };
    reply.attributes.for_each([&](std::uint16_t type, std::span<const std::byte> value) {
        if (wants(type)) kept.put(type, value);
    });
    FilterObject object = {.kind = description.kind,
                           .family = reply.header_as<nfgenmsg>().nfgen_family,
                           .attributes = std::move(kept).take()};
    limit_quotas(object);
    return object;
}

// One reading of everything.
class Reader {
  public:
    explicit Reader(NetlinkSocket& netlink) : netlink_(netlink) {}

    Result<Ruleset> read() {
        TRY(read_tables());
        if (ruleset_.empty()) return std::move(ruleset_);
        Ruleset sets, elements, rules;
        TRY(append(Kind::Chain, ruleset_));
        TRY(append(Kind::Object, ruleset_));
        TRY(append(Kind::FlowTable, ruleset_));
        TRY(append(Kind::Set, sets));
        for (const FilterObject& set : sets) TRY(read_elements(set, elements));
        TRY(append(Kind::Rule, rules));
        for (const FilterObject& object : ruleset_) {
            const bool is_bound = object.kind == Kind::Chain &&
                                  (flags_of(object, NFTA_CHAIN_FLAGS) & NFT_CHAIN_BINDING) != 0;
            if (is_bound) bound_.insert(name_of(object));
        }
        for (FilterObject& rule : rules) by_chain_[name_of(rule)].push_back(std::move(rule));
        std::ranges::move(sets, std::back_inserter(ruleset_));
        std::ranges::move(elements, std::back_inserter(ruleset_));
        while (!by_chain_.empty()) put_rules(by_chain_.begin()->first);
        return std::move(ruleset_);
    }

  private:
    Result<> ask(const Description& description, std::uint8_t family,
                 const std::function<void(NetlinkMessages&)>& fill,
                 const std::function<Result<>(const NetlinkReply&)>& visit) {
        NetlinkMessages message;
        message.begin((NFNL_SUBSYS_NFTABLES << 8) | description.asked, NLM_F_DUMP,
                      netfilter_header(family));
        fill(message);
        return netlink_.query(message, sizeof(nfgenmsg), visit, "read the nftables ruleset");
    }
    Result<> count(std::size_t bytes) {
        bytes_ += bytes;
        if (bytes_ <= limits::kPacketFilterBytesMax) return {};
        return fail(Error::limit(fmt::format("the container's packet filter has more than {} MiB",
                                             limits::kPacketFilterBytesMax >> 20)));
    }

    Result<> read_tables() {
        const Description& description = description_of(Kind::Table);
        return ask(
            description, NFPROTO_UNSPEC, [](NetlinkMessages&) {},
            [&](const NetlinkReply& reply) -> Result<> {
                FilterObject table = keep(description, reply);
                if (is_ferrys_table(name_of(table).table)) return {};
                if ((flags_of(table, NFTA_TABLE_FLAGS) & NFT_TABLE_F_OWNER) != 0) {
                    return fail(Error::unsupported(fmt::format(
                        "the container's network has packet filter rules that a program holds "
                        "by its socket (nftables {})",
                        describe(table))));
                }
                ruleset_.push_back(std::move(table));
                return {};
            });
    }

    Result<> append(Kind kind, Ruleset& into) {
        const Description& description = description_of(kind);
        return ask(
            description, NFPROTO_UNSPEC, [](NetlinkMessages&) {},
            [&](const NetlinkReply& reply) -> Result<> {
                if (is_ferrys_table(reply.attributes.text(kTableName))) return {};
                into.push_back(keep(description, reply));
                return count(into.back().attributes.size());
            });
    }

    Result<> read_elements(const FilterObject& set, Ruleset& into);

    // A chain that belongs to one rule is complete before the rule is there.
    void put_rules(const Name& chain) {
        auto found = by_chain_.extract(chain);
        if (found.empty()) return;
        for (FilterObject& rule : found.mapped()) {
            for (const std::string& called : chains_called(rule)) {
                const Name name = {.family = chain.family, .table = chain.table, .own = called};
                if (bound_.contains(name)) put_rules(name);
            }
            ruleset_.push_back(std::move(rule));
        }
    }

    NetlinkSocket& netlink_;
    Ruleset ruleset_;
    std::map<Name, Ruleset> by_chain_;
    std::set<Name> bound_;
    std::size_t bytes_ = 0;
};

// An interval is two elements, its start and its end, and is made in this order; the end of one may
// be the start of the next. Hashed sets have another order on each host.
using Element = std::vector<std::byte>;
bool comes_before(const Element& a, const Element& b) {
    const auto rank = [](const Element& element) {
        const NetlinkAttributes own(element);
        const auto key = own.nested(NFTA_SET_ELEM_KEY).find(NFTA_DATA_VALUE);
        const auto flags = ntohl(own.number<std::uint32_t>(NFTA_SET_ELEM_FLAGS));
        return std::tuple(key, (flags & NFT_SET_ELEM_INTERVAL_END) == 0,
                          own.nested(NFTA_SET_ELEM_KEY_END).find(NFTA_DATA_VALUE));
    };
    const auto [key_a, start_a, end_a] = rank(a);
    const auto [key_b, start_b, end_b] = rank(b);
    const auto order = std::lexicographical_compare_three_way(key_a.begin(), key_a.end(),
                                                              key_b.begin(), key_b.end());
    if (order != 0) return order < 0;
    if (start_a != start_b) return start_b;
    return std::ranges::lexicographical_compare(end_a, end_b);
}

Result<> Reader::read_elements(const FilterObject& set, Ruleset& into) {
    const Name name = name_of(set);
    std::vector<Element> elements;
    TRY(ask(
        description_of(Kind::Elements), set.family,
        [&](NetlinkMessages& message) {
            message.put_string(NFTA_SET_ELEM_LIST_TABLE, name.table);
            message.put_string(NFTA_SET_ELEM_LIST_SET, name.own);
        },
        [&](const NetlinkReply& reply) -> Result<> {
            const auto list = reply.attributes.find(NFTA_SET_ELEM_LIST_ELEMENTS);
            NetlinkAttributes(list).for_each([&](std::uint16_t, std::span<const std::byte> value) {
                elements.emplace_back(value.begin(), value.end());
            });
            return count(list.size());
        }));
    std::ranges::sort(elements, comes_before);
    for (std::size_t next = 0; next < elements.size();) {
        AttributeList list, attributes;
        while (next < elements.size() && list.size() < kElementsBytesMax) {
            list.put(NFTA_LIST_ELEM, elements[next++]);
        }
        const NetlinkAttributes of_set(set.attributes);
        attributes.put(NFTA_SET_ELEM_LIST_TABLE, of_set.find(NFTA_SET_TABLE));
        attributes.put(NFTA_SET_ELEM_LIST_SET, of_set.find(NFTA_SET_NAME));
        attributes.put(NFTA_SET_ELEM_LIST_ELEMENTS, list.bytes());
        into.push_back({.kind = Kind::Elements,
                        .family = set.family,
                        .attributes = std::move(attributes).take()});
        limit_quotas(into.back());
    }
    return {};
}

// Every transaction has a number.
Result<std::uint32_t> generation(NetlinkSocket& netlink) {
    NetlinkMessages message;
    message.begin((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETGEN, 0,
                  netfilter_header(NFPROTO_UNSPEC));
    std::uint32_t number = 0;
    TRY(netlink.query(
        message, sizeof(nfgenmsg),
        [&](const NetlinkReply& reply) -> Result<> {
            number = reply.attributes.number<std::uint32_t>(NFTA_GEN_ID);
            return {};
        },
        "ask for the generation of the nftables ruleset"));
    return number;
}

}  // namespace

Result<Ruleset> read_ruleset(NetlinkSocket& netlink) {
    for (int reading = 0; reading < kReadingsMax; ++reading) {
        const auto before = TRY(generation(netlink));
        auto ruleset = Reader(netlink).read();
        const bool is_whole = TRY(generation(netlink)) == before;
        if (is_whole || (!ruleset && ruleset.error().kind() != Error::Kind::System)) return ruleset;
    }
    return fail(Error::limit("the container's packet filter rules change all the time"));
}

Result<> replace_ruleset(NetlinkSocket& netlink, const Ruleset& ruleset) {
    const Ruleset present = TRY(read_ruleset(netlink));
    if (present.empty() && ruleset.empty()) return {};
    NftBatch batch;
    for (const FilterObject& object : present) {
        if (object.kind != Kind::Table) continue;
        batch.delete_table({.family = object.family, .name = name_of(object).table});
    }
    const std::size_t first = batch.count();
    std::uint32_t sets = 0;
    for (const FilterObject& object : ruleset) {
        const Description& description = description_of(object.kind);
        AttributeList more;
        if (object.kind == Kind::Set) more.put_number(NFTA_SET_ID, htonl(++sets));
        if (object.kind == Kind::Rule) {
            const auto compatibility = compatibility_of(object);
            if (!compatibility.empty()) more.put(NFTA_RULE_COMPAT, compatibility);
        }
        batch.add_object(description.made, description.flags, object.family, object.attributes,
                         more.bytes());
    }
    const auto loaded = netlink.request(batch.finish(), "load the rules (nftables)");
    if (loaded) return {};
    const std::size_t failed = netlink.failed_message();
    const std::string at = failed >= first && failed - first < ruleset.size()
                               ? describe(ruleset[failed - first])
                               : "the whole of it";
    return fail(Error::unsupported(
        fmt::format("the kernel here does not take the container's packet filter, {}: {}", at,
                    loaded.error().message())));
}

Ruleset comparable(Ruleset ruleset) {
    std::set<Name> expiring;
    for (const FilterObject& object : ruleset) {
        if (object.kind != Kind::Set) continue;
        const auto flags = flags_of(object, NFTA_SET_FLAGS);
        if ((flags & (NFT_SET_TIMEOUT | NFT_SET_EVAL)) != 0) expiring.insert(name_of(object));
    }
    std::erase_if(ruleset, [&](const FilterObject& object) {
        return object.kind == Kind::Elements && expiring.contains(name_of(object));
    });
    for (FilterObject& object : ruleset) {
        visit_expressions(object, [&](std::string_view name, const NetlinkAttributes& own) {
            if (name != "last") return;
            std::ranges::fill(writable(object.attributes, own.find(NFTA_LAST_MSECS)), std::byte{0});
        });
    }
    return ruleset;
}

}  // namespace ferry::handover
