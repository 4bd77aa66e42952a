// Eight hundred descriptors at scattered numbers, some of them duplicates of each other, some
// closed on exec, keep their numbers, flags and what they refer to.
#include <fcntl.h>
#include <sys/eventfd.h>

#include <cstdint>

#include "victim.h"

namespace {

constexpr int kFirst = 10, kCount = 800;

// Every third is a duplicate of the one before it.
int number(int i) {
    return kFirst + i + i / 7;
}

}  // namespace

int main() {
    victim::arm();
    for (int i = 0; i < kCount; ++i) {
        const int source = i % 3 == 2 ? number(i - 1) : eventfd(static_cast<unsigned>(i), 0);
        if (dup3(source, number(i), i % 2 == 0 ? O_CLOEXEC : 0) < 0) victim::fail("dup3");
        if (i % 3 != 2) close(source);
    }
    victim::wait_for_end();
    for (int i = 0; i < kCount; ++i) {
        const int flags = fcntl(number(i), F_GETFD);
        if (flags != (i % 2 == 0 ? FD_CLOEXEC : 0)) victim::fail("flags of %d: %d", i, flags);
        if (i % 3 == 2) {
            const std::uint64_t one = 1;
            if (write(number(i), &one, sizeof(one)) != sizeof(one)) victim::fail("write %d", i);
        }
    }
    for (int i = 1; i < kCount - 1; ++i) {
        if (i % 3 == 2) continue;
        std::uint64_t counter = 0;
        if (read(number(i), &counter, sizeof(counter)) != sizeof(counter)) victim::fail("read");
        const auto expected = static_cast<std::uint64_t>(i % 3 == 1 ? i + 1 : i);
        if (counter != expected) victim::fail("counter %d", i);
    }
    if (fcntl(number(kCount), F_GETFD) != -1) victim::fail("a descriptor too many");
    victim::pass();
}
