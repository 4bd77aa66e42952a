// timerfd_create(2) descriptors. fdinfo shows what is left until the next expiration, whatever the
// clock, so that a timer goes on with the same rest at another host; one that was set to an
// absolute time is set to the absolute time that is as far away.
#pragma once

#include "base/error.h"
#include "model/files.h"
#include "os/fd.h"
#include "resources/descriptions.h"

namespace ferry::resources {

// Unsupported: a clock that wakes the machine (CLOCK_*_ALARM). Corrupt: the kernel shows no timer.
Result<> check_timerfd(const Slot& slot);
// `copy` is a duplicate of the slot's descriptor. The same errors.
Result<model::TimerFd> read_timerfd(int copy, const Slot& slot);
// Unread expirations are set by TFD_IOC_SET_TICKS (Linux 3.17, CONFIG_CHECKPOINT_RESTORE).
Result<os::UniqueFd> open_timerfd(const model::TimerFd& timer);

}  // namespace ferry::resources
