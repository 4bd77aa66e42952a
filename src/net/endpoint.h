// Where something listens: a host name or an IP address, and a TCP port.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace ferry::net {

// The port of ferryd when none is given.
inline constexpr std::uint16_t kControlPort = 7411;

struct Endpoint {
    std::string host;
    std::uint16_t port = 0;

    // "host", "host:7411", "10.0.0.2:7411", "fe80::1", "[fe80::1]:7411". Invalid if it is none of
    // them.
    static Result<Endpoint> parse(std::string_view text, std::uint16_t default_port);
    // The form that parse() reads.
    [[nodiscard]] std::string to_string() const;
};

}  // namespace ferry::net
