// An nftables table that drops every frame at one device's ingress and egress, ARP and neighbour
// discovery included (Linux 5.16 with CONFIG_NETFILTER_EGRESS). Packet sockets still see what
// arrives.
//
// Source relied upon: linux/netfilter/nf_tables.h, nft(8) "netdev family".
#pragma once

#include <string>

#include "base/error.h"
#include "handover/netlink.h"
#include "handover/nftables.h"

namespace ferry::handover {

class DeviceMute {
  public:
    explicit DeviceMute(const std::string& device);
    // owner Yes: the mute ends with `netlink`; No: it ends with the device or with remove().
    // Unsupported: the kernel has no such hook.
    Result<> install(NetlinkSocket& netlink, NftOwner owner, bool muted);
    // One quick transaction (10 us to 1 ms); the table stays.
    Result<> set(NetlinkSocket& netlink, bool muted);
    Result<> remove(NetlinkSocket& netlink);
    [[nodiscard]] const NftTable& table() const { return table_; }

  private:
    std::string device_;
    NftTable table_;
};

}  // namespace ferry::handover
