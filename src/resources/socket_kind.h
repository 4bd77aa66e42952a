// What kind of socket it is, as of socket(2).
#pragma once

#include <compare>

#include "base/error.h"

namespace ferry::resources {

struct SocketKind {
    int family = 0;
    int type = 0;
    int protocol = 0;
    auto operator<=>(const SocketKind&) const = default;
};

// SO_DOMAIN, SO_TYPE, SO_PROTOCOL.
Result<SocketKind> socket_kind(int fd);

}  // namespace ferry::resources
