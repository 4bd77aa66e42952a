// The restartable-sequence area that glibc registered is kept up to date by the kernel.
#include <sched.h>
#include <sys/rseq.h>

#include <cstddef>

#include "victim.h"

namespace {

unsigned cpu_of_area() {
    const auto* area = reinterpret_cast<const volatile struct rseq*>(
        static_cast<std::byte*>(__builtin_thread_pointer()) + __rseq_offset);
    return area->cpu_id;
}

}  // namespace

int main() {
    victim::arm();
    victim::wait_for_end();
    if (__rseq_size != 0) {
        cpu_set_t allowed;
        sched_getaffinity(0, sizeof(allowed), &allowed);
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (!CPU_ISSET(cpu, &allowed)) continue;
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof(one), &one);
            if (cpu_of_area() != cpu) victim::fail("cpu_id is %u on cpu %u", cpu_of_area(), cpu);
        }
    }
    victim::pass();
}
