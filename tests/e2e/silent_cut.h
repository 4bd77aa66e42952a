// A link that is cut without a word to anybody.
#pragma once

#include <fmt/format.h>

#include <string>

namespace ferry::lab {

// For `nft -f`: nothing goes to the IPv4 address of the other host, and nothing comes from it.
inline std::string silent_cut(const std::string& address) {
    return fmt::format(
        "table ip cut {{\n"
        "  chain out {{ type filter hook output priority 0; ip daddr {0} drop; }}\n"
        "  chain in {{ type filter hook input priority 0; ip saddr {0} drop; }}\n"
        "}}\n",
        address);
}

}  // namespace ferry::lab
