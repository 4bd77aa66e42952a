// The few nftables objects that handover needs, as messages of one batch (a transaction).
//
// Source relied upon: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h, nft(8).
#pragma once

#include <linux/netfilter/nfnetlink.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "handover/ip_address.h"
#include "handover/netlink.h"

namespace ferry::handover {

// How the names of our tables begin: they are for the time of a move only.
inline constexpr std::string_view kHoldTables = "ferry_hold_", kMuteTables = "ferry_mute_";
[[nodiscard]] inline bool is_ferrys_table(std::string_view name) {
    return name.starts_with(kHoldTables) || name.starts_with(kMuteTables);
}

// The header of every message of nfnetlink; `resource` is that of a batch.
[[nodiscard]] nfgenmsg netfilter_header(std::uint8_t family, std::uint16_t resource = 0);

// A table of family NFPROTO_INET, NFPROTO_NETDEV or NFPROTO_ARP.
struct NftTable {
    std::uint8_t family = 0;
    std::string name;
};

// A base chain of type filter.
struct NftChain {
    std::string name;
    std::uint32_t hook = 0;  // NF_INET_* or NF_NETDEV_*
    std::int32_t priority = 0;
    bool drops = false;       // policy
    std::string device = {};  // netdev tables only
};

enum class NftOwner { Yes, No };  // Yes: the table vanishes with the sending socket (Linux 5.12)

// One rule's matches, all of which must hold, and its verdict.
class NftRule {
  public:
    enum class Verdict : std::uint32_t { Drop = 0, Accept = 1 };  // NF_DROP, NF_ACCEPT

    NftRule& match_mark(std::uint32_t mark);
    NftRule& match_source(const IpAddress& address);
    NftRule& match_destination(const IpAddress& address);
    // TCP; ports in host byte order.
    NftRule& match_tcp_source_port(std::uint16_t port);
    NftRule& match_tcp_destination_port(std::uint16_t port);
    // Tables of family NFPROTO_ARP: whose MAC is asked for, and who speaks. IPv4 over Ethernet.
    NftRule& match_arp_target(const IpAddress& address);
    NftRule& match_arp_sender(const IpAddress& address);
    // SYN without ACK.
    NftRule& match_tcp_syn();

  private:
    friend class NftBatch;
    // One expression of the kernel's rule language.
    struct Expression {
        enum class Kind { MetaLoad, PayloadLoad, Mask, Equals } kind;
        std::uint32_t a = 0, b = 0, c = 0;  // meta key; or payload base, offset, length
        std::array<std::uint8_t, 16> data{};
        std::size_t size = 0;
    };
    void meta_equals(std::uint32_t key, std::span<const std::uint8_t> value);
    void payload_equals(std::uint32_t base, std::uint32_t offset,
                        std::span<const std::uint8_t> value);
    void match_family(const IpAddress& address);
    void match_tcp();
    std::vector<Expression> expressions_;
};

// A transaction under construction: all of it happens or nothing.
class NftBatch {
  public:
    NftBatch();
    NftBatch& add_table(const NftTable& table, NftOwner owner);
    // A table of that name that nobody owns is removed first, in the same transaction.
    NftBatch& replace_table(const NftTable& table, NftOwner owner);
    NftBatch& delete_table(const NftTable& table);
    NftBatch& add_chain(const NftTable& table, const NftChain& chain);
    // Changes the policy of an existing base chain.
    NftBatch& set_policy(const NftTable& table, const std::string& chain, bool drops);
    NftBatch& add_rule(const NftTable& table, const std::string& chain, const NftRule& rule,
                       NftRule::Verdict verdict);
    NftBatch& flush_chain(const NftTable& table, const std::string& chain);
    // An object of any kind as its attributes say, followed by `more` of them: NFT_MSG_NEW...
    NftBatch& add_object(std::uint16_t message, std::uint16_t flags, std::uint8_t family,
                         std::span<const std::byte> attributes, std::span<const std::byte> more);
    // Of the messages so far.
    [[nodiscard]] std::size_t count() const { return messages_.count(); }
    // Closes the batch and moves it out; the result can be sent any number of times.
    [[nodiscard]] NetlinkMessages finish();

  private:
    void begin(std::uint16_t message, std::uint16_t flags, std::uint8_t family);
    void put_expression(const NftRule::Expression& expression);
    NetlinkMessages messages_;
};

}  // namespace ferry::handover
