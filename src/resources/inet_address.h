// Addresses of IPv4 and IPv6 sockets between the kernel's form and the model's.
#pragma once

#include <netinet/in.h>

#include <cstdint>

#include "base/error.h"
#include "os/endpoint.h"

namespace ferry::resources {

struct InetEndpoint {
    int family = AF_INET;
    in6_addr address = {};   // IPv4 in the first four bytes, as model::InetSocket
    std::uint16_t port = 0;  // host byte order
    std::uint32_t scope = 0;
};

// Corrupt: neither AF_INET nor AF_INET6.
Result<InetEndpoint> to_endpoint(const os::SocketAddress& address);
[[nodiscard]] os::SocketAddress to_address(const InetEndpoint& endpoint);

// An IPv6 socket that talks IPv4 (::ffff:a.b.c.d) becomes the IPv4 endpoint that is on the wire.
[[nodiscard]] InetEndpoint on_the_wire(const InetEndpoint& endpoint);
[[nodiscard]] bool is_any(const InetEndpoint& endpoint);

}  // namespace ferry::resources
