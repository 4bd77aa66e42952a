// Files of /proc that are about the whole host or a whole network namespace: meminfo(5), and
// /proc/PID/net/dev, snmp, igmp and igmp6 (proc_pid_net(5)).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace ferry::proc {

// Bytes in use: MemTotal - MemAvailable, so that cache which can be dropped at once does not count.
Result<std::uint64_t> parse_memory_in_use(std::string_view meminfo);
Result<std::uint64_t> parse_memory_total(std::string_view meminfo);

struct DeviceCounters {
    std::uint64_t received_bytes = 0, received_packets = 0, sent_bytes = 0, sent_packets = 0;
    bool operator==(const DeviceCounters&) const = default;
};
// Kind::Gone if there is no such device.
Result<DeviceCounters> parse_device_counters(std::string_view net_dev, std::string_view device);

// Segments that TCP has sent again (RetransSegs, RFC 1213), all sockets of the namespace together.
Result<std::uint64_t> parse_tcp_retransmissions(std::string_view snmp);

// A multicast group that the device with this index takes part in.
struct MulticastGroup {
    int device = 0;
    std::string device_name;
    // In network order: four bytes of IPv4 or sixteen of IPv6.
    std::vector<std::uint8_t> address;
    int users = 0;  // sockets, and the kernel itself
    bool operator==(const MulticastGroup&) const = default;
};
// /proc/net/igmp and /proc/net/igmp6.
Result<std::vector<MulticastGroup>> parse_igmp(std::string_view text);
Result<std::vector<MulticastGroup>> parse_igmp6(std::string_view text);

}  // namespace ferry::proc
