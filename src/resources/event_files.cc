#include "resources/event_files.h"

#include <fmt/format.h>
#include <sys/eventfd.h>

#include "os/description.h"

namespace ferry::resources {

Result<model::EventFd> read_eventfd(const Slot& slot) {
    if (!slot.info.eventfd_count) {
        return fail(
            Error::corrupt(fmt::format("{}: eventfd without a counter", slot.holder.text())));
    }
    return model::EventFd{.counter = *slot.info.eventfd_count,
                          .semaphore = slot.info.eventfd_semaphore};
}

Result<os::UniqueFd> open_eventfd(const model::EventFd& event) {
    // Non-blocking while the counter is written; the recorded flags follow.
    os::UniqueFd opened = TRY(os::eventfd(0, EFD_NONBLOCK | (event.semaphore ? EFD_SEMAPHORE : 0)));
    if (event.counter == 0) return opened;
    // eventfd(2): the largest counter is 2^64-2; the constructor would only take 32 bits.
    TRY(os::write_all(opened.get(), std::as_bytes(std::span(&event.counter, 1))));
    return opened;
}

model::EventPoll read_epoll(const Slot& slot) {
    return model::EventPoll{.targets = slot.info.epoll_targets};
}

}  // namespace ferry::resources
