// The packet filter of a socket (SO_ATTACH_FILTER): classic BPF.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "resources/descriptions.h"

namespace ferry::resources {

// struct sock_filter (linux/filter.h), one a word; empty: there is none. Refused by name: a filter
// of eBPF, whose program nobody outside can read.
Result<std::vector<std::uint64_t>> read_socket_filter(int fd, const Holder& holder);
// Does nothing where there is none.
Result<> attach_socket_filter(int fd, std::span<const std::uint64_t> filter);

}  // namespace ferry::resources
