// An IPv4 or IPv6 address without port or scope. In network byte order, as on the wire.
#pragma once

#include <netinet/in.h>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/error.h"

namespace ferry::handover {

struct IpAddress {
    int family = AF_INET;                   // AF_INET or AF_INET6
    std::array<std::uint8_t, 16> octets{};  // IPv4 uses the first four; the rest stays zero

    auto operator<=>(const IpAddress&) const = default;

    [[nodiscard]] std::size_t size() const { return family == AF_INET6 ? 16 : 4; }
    [[nodiscard]] std::span<const std::uint8_t> bytes() const {
        return std::span(octets).first(size());
    }
    // 0.0.0.0 or ::
    [[nodiscard]] bool is_wildcard() const;
    // 127.0.0.0/8, ::1 or ::ffff:127.0.0.0/104
    [[nodiscard]] bool is_loopback() const;
    // fe80::/10
    [[nodiscard]] bool is_link_local() const;
    [[nodiscard]] std::string to_string() const;

    // bytes.size() is 4 or 16; anything else is Error::Kind::Corrupt. An IPv4-mapped IPv6 address
    // becomes the IPv4 address that its packets carry.
    [[nodiscard]] static Result<IpAddress> from_bytes(std::span<const std::uint8_t> bytes);
    // Presentation form, as inet_pton(3) reads it; Invalid otherwise.
    [[nodiscard]] static Result<IpAddress> parse(const std::string& text);
    // From a socket's in6_addr field in which IPv4 occupies the first four bytes
    // (model::InetSocket).
    [[nodiscard]] static IpAddress from_socket(int family, const in6_addr& address);
};

}  // namespace ferry::handover
