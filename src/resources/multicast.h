// Multicast groups that a socket is a member of, with the sources that it wants there
// (docs/decisions/0040). No interface lists a socket's groups, so those of all devices are asked
// for: MCAST_MSFILTER tells a socket's filter of one group on one device.
#pragma once

#include <span>
#include <vector>

#include "base/error.h"
#include "model/multicast.h"
#include "proc/system_tables.h"

namespace ferry::resources {

class MemberReader {
  public:
    // Sees what groups there are in the caller's network namespace: again before each pass over
    // the sockets of a tree.
    Result<> look();
    // Of a socket in that namespace.
    [[nodiscard]] Result<std::vector<model::GroupMembership>> read(int fd, int family) const;

  private:
    std::vector<proc::MulticastGroup> v4_, v6_;
};

// Invalid: one of the devices is not here.
Result<> join_groups(int fd, std::span<const model::GroupMembership> groups);
// Where the network has learned which of its hosts want a group, it learns of us now: leaves and
// joins again, which the kernel reports.
Result<> report_groups(int fd, std::span<const model::GroupMembership> groups);

}  // namespace ferry::resources
