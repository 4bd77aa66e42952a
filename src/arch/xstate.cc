#include "arch/xstate.h"

#include <cpuid.h>

#include <algorithm>

namespace ferry::arch {

namespace {

constexpr unsigned kXsaveLeaf = 0xd;

std::uint64_t read_xcr0() {
    std::uint32_t low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (std::uint64_t{high} << 32) | low;
}

XStateLayout read_layout() {
    XStateLayout layout;
    layout.features = 3;
    layout.bytes = kXsaveLegacyBytes + kXsaveHeaderBytes;
    unsigned a = 0, b = 0, c = 0, d = 0;
    const bool has_xsave = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_OSXSAVE) != 0;
    if (!has_xsave) return layout;
    layout.features = read_xcr0();
    for (unsigned number = 2; number < 63; ++number) {
        if ((layout.features >> number & 1) == 0) continue;
        if (__get_cpuid_count(kXsaveLeaf, number, &a, &b, &c, &d) == 0) continue;
        layout.places[number] = {.offset = b, .size = a};
        layout.bytes = std::max(layout.bytes, b + a);
    }
    return layout;
}

}  // namespace

const XStateLayout& XStateLayout::of_this_cpu() {
    static const XStateLayout layout = read_layout();
    return layout;
}

}  // namespace ferry::arch
