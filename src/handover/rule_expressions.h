// Looking into the expressions of nftables' objects: only where the kernel does not take back what
// it tells. Internal to packet_filter.h.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "handover/netlink.h"
#include "handover/packet_filter.h"

namespace ferry::handover {

// Every expression of the object, in order, with its own attributes: those of a rule, of a set and
// of its elements. A named quota counts as one.
void visit_expressions(
    const FilterObject& object,
    const std::function<void(std::string_view name, const NetlinkAttributes& own)>& visit);

// The chains that a rule jumps or goes to.
[[nodiscard]] std::vector<std::string> chains_called(const FilterObject& rule);

// A quota that is used up says so with a flag that only the kernel may set, and may have counted
// more than it takes: both come again with the next packet.
void limit_quotas(FilterObject& object);

// A rule with matches and targets of iptables is taken only with the protocol that it is for
// (NFTA_RULE_COMPAT), which the kernel tells no more: it is what the rule compares the packet's
// protocol with. Empty: the rule has none of these. Otherwise the attribute's content.
[[nodiscard]] std::vector<std::byte> compatibility_of(const FilterObject& rule);

}  // namespace ferry::handover
