#include "resources/inet_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <cstring>

namespace ferry::resources {

Result<InetEndpoint> to_endpoint(const os::SocketAddress& address) {
    InetEndpoint endpoint;
    endpoint.family = address.storage.ss_family;
    if (endpoint.family == AF_INET) {
        const auto& v4 = os::address_as<sockaddr_in>(address);
        std::memcpy(&endpoint.address, &v4.sin_addr, sizeof(v4.sin_addr));
        endpoint.port = ntohs(v4.sin_port);
        return endpoint;
    }
    if (endpoint.family == AF_INET6) {
        const auto& v6 = os::address_as<sockaddr_in6>(address);
        endpoint.address = v6.sin6_addr;
        endpoint.port = ntohs(v6.sin6_port);
        endpoint.scope = v6.sin6_scope_id;
        return endpoint;
    }
    return fail(
        Error::corrupt(fmt::format("address family {} of an inet socket", endpoint.family)));
}

os::SocketAddress to_address(const InetEndpoint& endpoint) {
    if (endpoint.family == AF_INET) {
        sockaddr_in v4 = {};
        v4.sin_family = AF_INET;
        v4.sin_port = htons(endpoint.port);
        std::memcpy(&v4.sin_addr, &endpoint.address, sizeof(v4.sin_addr));
        return os::make_address(v4);
    }
    sockaddr_in6 v6 = {};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(endpoint.port);
    v6.sin6_addr = endpoint.address;
    v6.sin6_scope_id = endpoint.scope;
    return os::make_address(v6);
}

InetEndpoint on_the_wire(const InetEndpoint& endpoint) {
    if (endpoint.family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&endpoint.address)) return endpoint;
    InetEndpoint v4 = {.family = AF_INET, .address = {}, .port = endpoint.port, .scope = 0};
    std::memcpy(&v4.address, &endpoint.address.s6_addr[12], sizeof(in_addr));
    return v4;
}

bool is_any(const InetEndpoint& endpoint) {
    static constexpr in6_addr kNone = {};
    const std::size_t size = endpoint.family == AF_INET ? sizeof(in_addr) : sizeof(in6_addr);
    return std::memcmp(&endpoint.address, &kNone, size) == 0;
}

}  // namespace ferry::resources
