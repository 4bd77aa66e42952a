// Futexes in memory that is shared with other processes (futex(2)).
#pragma once

#include <chrono>
#include <cstdint>

namespace ferry::os {

// Returns when the word is not `value` any more, somebody woke us, or the time is over; the caller
// looks at the word again.
void futex_wait(const std::uint32_t* word, std::uint32_t value, std::chrono::milliseconds timeout);
void futex_wake(std::uint32_t* word);

}  // namespace ferry::os
