// What only raw sockets of IP have (raw(7), icmp6(7)).
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "resources/socket_kind.h"

namespace ferry::resources {

// Not of protocols that the kernel has sockets of its own for, nor of IGMP: who forwards multicasts
// controls it by such a socket.
[[nodiscard]] bool is_raw(const SocketKind& kind);

// Whom a socket of the caller's network namespace is connected to; nothing: nobody. IPv4 in the
// first four bytes. A peer without a port is none to getpeername(2), so /proc/net/raw is asked.
Result<std::optional<in6_addr>> raw_peer(int fd, int family);

// ICMP6_FILTER in words; none where all is let through, or it is no socket of ICMPv6.
Result<std::vector<std::uint32_t>> read_icmp6_filter(int fd, const SocketKind& kind);
Result<> set_icmp6_filter(int fd, std::span<const std::uint32_t> words);

}  // namespace ferry::resources
