// Which ends of a pipe the tree has: one that leads out of it cannot go on.
#pragma once

#include <cstdint>
#include <map>

#include "base/error.h"
#include "resources/descriptions.h"

namespace ferry::resources {

// `flags` as of F_GETFL.
[[nodiscard]] bool is_readable(std::uint32_t flags);
[[nodiscard]] bool is_writable(std::uint32_t flags);

struct PipeEnds {
    Holder any;
    Holder reader, writer;
    void add(const Slot& slot);
};
using PipeTable = std::map<std::uint32_t, PipeEnds>;  // by the pipe's inode

// `copy` is a duplicate of an end. Unsupported, named: the other end is open outside of the tree.
// One whose other end is closed goes on.
Result<> check_pipe_ends(const PipeEnds& ends, int copy);

}  // namespace ferry::resources
