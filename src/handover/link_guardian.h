// A child process that removes network devices when we die while it is armed.
//
// It holds copies of our netlink sockets, so an nftables table with an owner lives until the
// guardian has sent its messages: a device that is muted by such a table does not speak between our
// death and its removal. Killing the guardian removes nothing.
#pragma once

#include <memory>
#include <span>

#include "base/error.h"
#include "handover/netlink.h"
#include "os/fd.h"
#include "os/launch.h"

namespace ferry::handover {

// What the guardian sends, each with its own socket; errors are ignored there.
struct GuardianOrder {
    int socket = -1;
    NetlinkMessages messages;
};

class LinkGuardian {
  public:
    // Starts disarmed. At most kOrdersMax orders, sent in their order. Costs a fork.
    static constexpr std::size_t kOrdersMax = 2;
    static Result<LinkGuardian> start(std::span<const GuardianOrder> orders);
    // From the return of arm() on our death makes the guardian act; from disarm() on it does not.
    // Gone: somebody has killed the guardian. The last of at most some hundred commands counts.
    Result<> arm();
    Result<> disarm();

  private:
    LinkGuardian(os::UniqueFd commands, os::ChildProcess child)
        : commands_(std::move(commands)), child_(std::move(child)) {}
    os::UniqueFd commands_;
    // Its destructor kills the guardian, which then removes nothing.
    os::ChildProcess child_;
};

}  // namespace ferry::handover
