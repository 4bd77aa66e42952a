// Messages of a POSIX message queue can be read only by receiving them, so they are taken out and
// put back at once. Meanwhile they are in the custody of memory that outlives whoever took them: a
// process that shares it puts them back if we die (I1).
//
// Nothing notices, as long as whoever uses the queue stands still: blocked senders and receivers
// are not in the kernel's lists while they do. Only where somebody has registered for the next
// message (mq_notify(3)) must a queue not be emptied and filled again.
//
// Source relied upon: ipc/mqueue.c of Linux 6.18; mq_overview(7): the oldest message of the highest
// priority comes first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/error.h"
#include "os/memory.h"

namespace ferry::os {

struct QueuedMessage {
    std::uint32_t priority = 0;
    std::vector<std::byte> content;
};

// The memory is shared with children that are forked later. One queue at a time, one thread.
class MessageCustody {
  public:
    // Address space only, until it is used.
    static Result<MessageCustody> create();

    // What is in the queue, in the order in which it would be received. `queue`: for reading and
    // writing, with O_NONBLOCK. Limit: more than is carried.
    Result<std::vector<QueuedMessage>> copy(int queue);

    // For whoever shares the memory and the descriptor table, when the process that was in copy()
    // has died: the queue is as it was. Makes system calls only; may be called at any time.
    void put_back() noexcept;

  private:
    struct Table;
    explicit MessageCustody(Mapping memory) : memory_(std::move(memory)) {}
    [[nodiscard]] Table& table() const;
    [[nodiscard]] std::vector<QueuedMessage> held() const;

    Mapping memory_;
};

}  // namespace ferry::os
