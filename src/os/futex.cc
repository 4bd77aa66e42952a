#include "os/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>

namespace ferry::os {

void futex_wait(const std::uint32_t* word, std::uint32_t value, std::chrono::milliseconds timeout) {
    const timespec limit = {.tv_sec = timeout.count() / 1000,
                            .tv_nsec = (timeout.count() % 1000) * 1'000'000};
    ::syscall(SYS_futex, word, FUTEX_WAIT, value, &limit, nullptr, 0);
}

void futex_wake(std::uint32_t* word) {
    ::syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace ferry::os
