// The clocks of the vdso go on, forwards, and agree with the system calls.
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>

#include <cinttypes>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "victim.h"

namespace {

std::int64_t now(clockid_t clock, bool by_kernel) {
    timespec t = {};
    if (by_kernel) {
        syscall(SYS_clock_gettime, clock, &t);
    } else {
        clock_gettime(clock, &t);
    }
    return t.tv_sec * 1'000'000'000ll + t.tv_nsec;
}

}  // namespace

int main() {
    victim::arm();
    const auto* vdso = reinterpret_cast<const char*>(getauxval(AT_SYSINFO_EHDR));
    const std::int64_t before = now(CLOCK_MONOTONIC, false);
    const std::int64_t real_before = now(CLOCK_REALTIME, false);
    victim::wait_for_end();
    if (vdso != nullptr && std::memcmp(vdso, "\177ELF", 4) != 0) victim::fail("the vdso is gone");
    std::int64_t last = before;
    for (int i = 0; i < 100'000; ++i) {
        const std::int64_t t = now(CLOCK_MONOTONIC, false);
        if (t < last) victim::fail("time went back by %" PRId64 " ns", last - t);
        last = t;
    }
    for (const clockid_t clock : {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME}) {
        const std::int64_t first = now(clock, true);
        const std::int64_t middle = now(clock, false);
        if (middle < first || now(clock, true) < middle) victim::fail("clock %d disagrees", clock);
    }
    if (now(CLOCK_REALTIME, false) < real_before) victim::fail("the date went back");
    if (time(nullptr) == 0) victim::fail("time() gave nothing");
    victim::pass();
}
