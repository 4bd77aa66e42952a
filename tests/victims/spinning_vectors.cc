// A thread that never enters the kernel keeps its general and vector registers and its red zone.
#include <cstdint>

#include "victim.h"

namespace {

// Fills registers and the red zone with values derived from `seed`, spins, and compares. True:
// kept.
__attribute__((noinline)) bool spin_and_compare(std::uint64_t seed) {
    std::uint64_t bad = 0;
    asm volatile(
        "mov %[seed], %%r12\n\t"
        "movq %[seed], %%xmm0\n\t"
        "pshufd $0x44, %%xmm0, %%xmm7\n\t"
        "movdqa %%xmm7, %%xmm15\n\t"
        "mov %[seed], -16(%%rsp)\n\t"
        "mov %[seed], -120(%%rsp)\n\t"
        "mov $200000, %%rcx\n\t"
        "1: dec %%rcx\n\t"
        "jnz 1b\n\t"
        "xor %[seed], %%r12\n\t"
        "or %%r12, %[bad]\n\t"
        "psubq %%xmm7, %%xmm15\n\t"
        "movq %%xmm15, %%r12\n\t"
        "or %%r12, %[bad]\n\t"
        "movhlps %%xmm7, %%xmm1\n\t"
        "movq %%xmm1, %%r12\n\t"
        "xor %[seed], %%r12\n\t"
        "or %%r12, %[bad]\n\t"
        "mov -16(%%rsp), %%r12\n\t"
        "xor %[seed], %%r12\n\t"
        "or %%r12, %[bad]\n\t"
        "mov -120(%%rsp), %%r12\n\t"
        "xor %[seed], %%r12\n\t"
        "or %%r12, %[bad]\n\t"
        : [bad] "+r"(bad)
        : [seed] "r"(seed)
        : "rcx", "r12", "xmm0", "xmm1", "xmm7", "xmm15", "memory", "cc");
    return bad == 0;
}

}  // namespace

int main() {
    victim::arm();
    victim::ready();
    std::uint64_t seed = 0x9e3779b97f4a7c15;
    while (!victim::ended()) {
        if (!spin_and_compare(seed)) victim::fail("a register or the red zone changed");
        seed = seed * 6364136223846793005u + 1442695040888963407u;
    }
    victim::pass();
}
