// An eventfd keeps its counter, a semaphore its mode.
#include <sys/eventfd.h>

#include <cstdint>

#include "victim.h"

int main() {
    victim::arm();
    const int plain = eventfd(0, EFD_NONBLOCK);
    const int semaphore = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
    const std::uint64_t large = (1ull << 40) + 5;
    if (write(plain, &large, sizeof(large)) != 8) victim::fail("write");
    victim::wait_for_end();
    std::uint64_t value = 0;
    if (read(plain, &value, sizeof(value)) != 8 || value != large) {
        victim::fail("counter %llu", static_cast<unsigned long long>(value));
    }
    if (read(plain, &value, sizeof(value)) != -1) victim::fail("the counter was not taken");
    for (int i = 0; i < 3; ++i) {
        if (read(semaphore, &value, sizeof(value)) != 8 || value != 1) victim::fail("semaphore");
    }
    if (read(semaphore, &value, sizeof(value)) != -1) victim::fail("a fourth from the semaphore");
    victim::pass();
}
