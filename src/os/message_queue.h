// POSIX message queues (mq_overview(7)) of the calling thread's IPC namespace.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::os {

// Their file system, mounted nowhere: a directory with a file for each queue. fsmount(2), Linux
// 5.2; needs CAP_SYS_ADMIN.
Result<UniqueFd> open_message_queues();

struct MessageQueueSize {
    std::uint64_t messages_max = 0;       // mq_maxmsg
    std::uint64_t message_bytes_max = 0;  // mq_msgsize
    std::uint64_t messages = 0;           // mq_curmsgs
};
// `queue` may be a descriptor of a file in that file system.
Result<MessageQueueSize> message_queue_size(int queue);

// A new queue, for reading and writing, with O_NONBLOCK. `name` begins with a slash. EEXIST: there
// is one of this name. EMFILE: RLIMIT_MSGQUEUE.
Result<UniqueFd> make_message_queue(const std::string& name, mode_t permissions,
                                    std::uint64_t messages_max, std::uint64_t message_bytes_max);
// Its descriptors stay.
Result<> unlink_message_queue(const std::string& name);
// mq_send(3).
Result<> send_message(int queue, std::span<const std::byte> content, std::uint32_t priority);

}  // namespace ferry::os
