// Files of /proc that are about the whole host or a whole network namespace: meminfo(5), and
// /proc/PID/net/dev and snmp (proc_pid_net(5)).
#pragma once

#include <cstdint>
#include <string_view>

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

}  // namespace ferry::proc
