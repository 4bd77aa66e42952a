// A container's terminal: the pair that its runtime makes in the container, whose master the
// runtime sends to whoever listens at a "console socket" (runc's docs/terminals.md, 1.1). Closed,
// the master hangs the terminal up; unread, it lets who writes wait after some KiB
// (docs/decisions/0044).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "container/config.h"
#include "os/fd.h"
#include "proc/mounts.h"

namespace ferry::container {

// The index of the terminal that the runtime has made, by what is mounted on /dev/console
// (`mounts`: of the container's first process). Nothing: it has none. Unsupported: it is mounted no
// more.
Result<std::optional<std::uint32_t>> index_of_terminal(const Config& config,
                                                       const std::vector<proc::Mount>& mounts);

// Invalid, by name: nobody can be listening at this path.
Result<> check_console_socket(const std::string& path);

// A console socket of ours, for one container. Whoever makes it removes the path.
class ConsoleSocket {
  public:
    static Result<ConsoleSocket> listen(const std::string& path);
    // What the runtime has sent. Limit: nothing.
    Result<os::UniqueFd> take_master();

  private:
    explicit ConsoleSocket(os::UniqueFd listener) : listener_(std::move(listener)) {}
    os::UniqueFd listener_;
};

// Starts a process that outlives us and holds the master until this process, a container's first,
// has ended: what is written goes to the end of `output`, and nowhere while that takes nothing;
// nobody types.
Result<> hold_master(const os::UniqueFd& master, Pid first, const os::UniqueFd& output);

}  // namespace ferry::container
