// Tells the network where an identity is now: gratuitous ARP for IPv4 addresses and unsolicited
// neighbour advertisements for IPv6 ones. The first frame also teaches every switch on the way the
// port.
//
// Switches that snoop multicast listeners learn of the solicited-node groups too: the kernel's own
// report was swallowed while the device was mute, and without it new IPv6 clients would not find
// the service until the next query, up to two minutes later.
//
// Source relied upon: RFC 5227 section 2.3, RFC 4861 section 7.2.6, RFC 3810 section 5.2,
// packet(7).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/error.h"
#include "handover/network_identity.h"
#include "os/fd.h"

namespace ferry::handover {

// Whole Ethernet frames. For IPv4 a request and a reply (some hosts listen to one of them only),
// both with the address as sender and target; for IPv6 an advertisement with the override flag to
// all nodes.
[[nodiscard]] std::vector<std::vector<std::byte>> announcement_frames(
    const MacAddress& mac, std::span<const IpAddress> addresses);

class Announcer {
  public:
    // Everything is prepared here, so that announce() is one sendto(2) a frame.
    static Result<Announcer> create(const NetworkIdentity& identity, int device_index);
    Result<> announce() const;

  private:
    os::UniqueFd socket_;
    int device_index_ = 0;
    std::vector<std::vector<std::byte>> frames_;
};

}  // namespace ferry::handover
