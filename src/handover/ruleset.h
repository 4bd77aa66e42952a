// The nftables ruleset of a network namespace, as objects in the order of their making. Internal to
// packet_filter.h.
#pragma once

#include <vector>

#include "base/error.h"
#include "handover/netlink.h"
#include "handover/packet_filter.h"

namespace ferry::handover {

Result<std::vector<FilterObject>> read_ruleset(NetlinkSocket& netlink);
Result<> replace_ruleset(NetlinkSocket& netlink, const std::vector<FilterObject>& ruleset);
// Without what is different whenever it is read: when a rule was last met, elements that expire.
[[nodiscard]] std::vector<FilterObject> comparable(std::vector<FilterObject> ruleset);

}  // namespace ferry::handover
