// What a socket of the internet has to do with network devices: the multicast groups that it is a
// member of there, and options that mean one. Devices go by their names.
#pragma once

#include <netinet/in.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace ferry::model {

using InetAddress = std::array<std::uint8_t, 16>;  // network order; IPv4 in the first four bytes

// A multicast group that a socket is a member of (ip(7), ipv6(7), RFC 3678).
struct GroupMembership {
    int family = AF_INET;  // of the group: an IPv6 socket may be in groups of both
    std::string device;
    InetAddress group = {};
    // IPv4: an address of the device at the source, by which the group may be left (ip_mreq).
    InetAddress local = {};
    bool excludes = true;  // datagrams of all sources but these; else of these alone
    std::vector<InetAddress> sources;
    bool operator==(const GroupMembership&) const = default;
};

// IP_MULTICAST_IF, IP_UNICAST_IF and those of IPv6.
struct DeviceOption {
    int level = 0, option = 0;
    std::string device;
    InetAddress local = {};  // of IP_MULTICAST_IF: the address that it was given, or zeros
    bool operator==(const DeviceOption&) const = default;
};

}  // namespace ferry::model
