// The standard streams that a container's runtime gave to its first process and that lead out of
// the container: a logger's pipe, a file or a null device of the host. They are no part of what is
// carried; where the container goes its runtime gives others, and whoever had the one has the
// other.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/types.h"
#include "model/files.h"
#include "os/fd.h"
#include "resources/descriptions.h"

namespace ferry::resources {

// Links as of proc_pid_fd(5), by number; empty: nothing was given, or nobody knows.
using StreamLinks = std::array<std::string, 3>;

class GivenStreams {
  public:
    GivenStreams() = default;
    // `first` is the container's first process.
    GivenStreams(StreamLinks links, Pid first) : links_(std::move(links)), first_(first) {}

    // The stream that this descriptor is of, wherever in the tree it is; nothing for what is no
    // stream that was given, does not lead out, or cannot be given again (a terminal, the read end
    // of a pipe). The same for every description of one pipe or file.
    [[nodiscard]] Result<std::optional<model::GivenStream>> find(const Slot& slot) const;

  private:
    [[nodiscard]] Result<bool> is_outside(const Slot& slot) const;
    StreamLinks links_;
    Pid first_;
};

// A description of its own of what the runtime gave here, `fd`, with `flags` as of F_GETFL. What is
// appended to here is appended to.
Result<os::UniqueFd> open_given_stream(int fd, std::uint32_t flags);

// Moves it to where the original stood, if it is of the same file; otherwise to the end.
Result<> settle_given_stream(int fd, const model::GivenStream& stream);

}  // namespace ferry::resources
