// POSIX message queues (mq_overview(7)) of the calling thread's IPC namespace.
#pragma once

#include "base/error.h"
#include "os/fd.h"

namespace ferry::os {

// Their file system, mounted nowhere: a directory with a file for each queue. fsmount(2), Linux
// 5.2; needs CAP_SYS_ADMIN.
Result<UniqueFd> open_message_queues();

}  // namespace ferry::os
