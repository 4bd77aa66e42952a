// Policy routing rules (`ip rule`): read, and made equal to others.
//
// Source relied upon: linux/fib_rules.h, net/core/fib_rules.c.
#pragma once

#include <vector>

#include "base/error.h"
#include "handover/netlink.h"
#include "handover/service_network.h"

namespace ferry::handover {

// Of both families, in the order in which they are asked. Unsupported: a rule with a selector that
// RoutingRule does not have.
Result<std::vector<RoutingRule>> list_rules(NetlinkSocket& netlink);
// Adds what is missing of `wanted` and then removes what is not in it.
Result<> make_rules(NetlinkSocket& netlink, const std::vector<RoutingRule>& wanted);

}  // namespace ferry::handover
