// POSIX message queues (mq_overview(7)), with both halves. The functions are about the calling
// thread's IPC namespace.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/ipc.h"
#include "model/process.h"
#include "os/fd.h"
#include "os/message_custody.h"

namespace ferry::resources {

// One that the tree has open.
struct OpenQueue {
    std::uint64_t inode = 0;
    std::string link;  // /proc/PID/fd/FD
    std::string name;  // where the link leads, without what is said of unlinked files
};

// While it is used. Unsupported, by name: what read_posix_queues() would refuse whatever happens.
Result<> check_posix_queues();

struct PosixQueues {
    std::vector<model::PosixQueue> queues;
    // Not empty: a state that passes by is in the way, and nothing was read.
    std::string busy;
};
// Whoever uses them must stand still. `open`: what the tree has open, since names do not lead to
// those that have been unlinked.
Result<PosixQueues> read_posix_queues(std::span<const OpenQueue> open, os::MessageCustody& custody);

// Unsupported: `owner`, who is registered, may ask for what mq_notify(3) was told as sigev_value,
// which nobody shows.
Result<> check_notification(const model::PosixQueue& queue, const model::Process& owner);

// Makes them anew and has them open. Registrations are for their processes to make.
class PosixQueueOpener {
  public:
    // The namespace must have none, and its settings must allow them. Raises our
    // RLIMIT_MSGQUEUE; beyond its hard limit only with CAP_SYS_RESOURCE.
    Result<> make(std::span<const model::PosixQueue> queues);
    // In any namespace.
    Result<os::UniqueFd> open(const model::MessageQueueFile& file, std::uint32_t flags) const;

  private:
    std::map<std::uint64_t, os::UniqueFd> made_;
};

}  // namespace ferry::resources
