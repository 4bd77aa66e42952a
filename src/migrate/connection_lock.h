// Keeps the TCP connections of a dumped tree silent between its dump and a restore: an nftables
// table in the network namespace of the calling thread, which is the tree's, that drops their
// packets. While it may still be rolled back the kernel removes it with our process
// (NFT_TABLE_F_OWNER); keep() makes it stay. Only for images: a live migration holds packets
// instead of dropping them (handover/network_hold.h). Source relied upon: proc_pid_net(5) for
// /proc/PID/net/tcp, linux/netfilter/nf_tables.h.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "handover/ip_address.h"
#include "handover/netlink.h"

namespace ferry::migrate {

struct Connection {
    handover::IpAddress local, peer;
    std::uint16_t local_port = 0, peer_port = 0;
    std::uint64_t inode = 0;
    bool operator==(const Connection&) const = default;
};

// The lines of /proc/PID/net/tcp and tcp6 that have a peer. Corrupt where a line makes no sense.
Result<std::vector<Connection>> parse_connections(std::string_view text);

class ConnectionLock {
  public:
    // Of all connections that processes of the tree hold now.
    static Result<ConnectionLock> install(Pid root, const std::string& name);
    [[nodiscard]] const std::vector<Connection>& connections() const { return connections_; }

    // After the dump: the table outlives us. In one transaction, so that no packet slips through.
    Result<> keep() &&;

  private:
    ConnectionLock(handover::NetlinkSocket netlink, std::string name,
                   std::vector<Connection> connections)
        : netlink_(std::move(netlink)),
          name_(std::move(name)),
          connections_(std::move(connections)) {}

    handover::NetlinkSocket netlink_;
    std::string name_;
    std::vector<Connection> connections_;
};

// No such table is no error: the tree was dumped on another machine.
Result<> remove_connection_lock(const std::string& name);

}  // namespace ferry::migrate
