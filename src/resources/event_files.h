// eventfd(2) and epoll(7) descriptors.
#pragma once

#include "base/error.h"
#include "model/files.h"
#include "os/fd.h"
#include "resources/descriptions.h"

namespace ferry::resources {

// From fdinfo alone. Corrupt: the kernel shows no counter.
Result<model::EventFd> read_eventfd(const Slot& slot);
Result<os::UniqueFd> open_eventfd(const model::EventFd& event);

[[nodiscard]] model::EventPoll read_epoll(const Slot& slot);

}  // namespace ferry::resources
