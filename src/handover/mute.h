// Makes one device of a host mute: every frame is dropped at its ingress and egress, ARP and
// neighbour discovery included (Linux 5.16 with CONFIG_NETFILTER_EGRESS). Packet sockets still see
// what arrives.
//
// A Linux host answers ARP for each of its addresses on each of its devices (arp_ignore is 0 by
// default), so the uplink would answer for the addresses of the mute device. A second table, of
// family arp, keeps the whole host silent about them. IPv6 has no such habit: a neighbour
// solicitation is answered only by the device that has the address (net/ipv6/ndisc.c).
//
// A third, of family inet, drops what the host says from the addresses before it looks for a
// neighbour's MAC: a question that the mute swallows would be repeated only a second later, and
// what is said after the unmuting would wait for it.
//
// Source relied upon: linux/netfilter/nf_tables.h, nft(8) "netdev family", ip-sysctl.rst
// "arp_ignore".
#pragma once

#include "base/error.h"
#include "handover/netlink.h"
#include "handover/network_identity.h"
#include "handover/nftables.h"

namespace ferry::handover {

class DeviceMute {
  public:
    explicit DeviceMute(const NetworkIdentity& identity);
    // owner Yes: the mute ends with `netlink`; No: it ends with remove(), even when we die.
    // Unsupported: the kernel has no such hook.
    Result<> install(NetlinkSocket& netlink, NftOwner owner, bool muted);
    // One quick transaction (10 us to 1 ms); the tables stay.
    Result<> set(NetlinkSocket& netlink, bool muted);
    Result<> remove(NetlinkSocket& netlink);
    [[nodiscard]] NetlinkMessages removal() const;

  private:
    void add_rules(NftBatch& batch) const;
    std::string device_;
    std::vector<IpAddress> addresses_;
    NftTable frames_, arp_, packets_;
};

}  // namespace ferry::handover
