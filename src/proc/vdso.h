// The code and data that the kernel maps into every process: [vdso], and the [vvar] mappings (two
// from Linux 6.13 on) whose layout the code relies on. They are moved, never carried: a tree can
// only go to a kernel whose vdso is the same.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "proc/maps.h"

namespace ferry::proc {

struct VdsoMappings {
    AddrRange text;               // empty: no vdso (vdso=0 on the kernel's command line)
    std::vector<AddrRange> data;  // [vvar], [vvar_vclock]; ascending
};

[[nodiscard]] VdsoMappings find_vdso(const std::vector<MapsEntry>& maps);

// XXH3 of the vdso's text as this kernel maps it into our own process; 0 without a vdso. The kernel
// patches the text once, at boot, for the CPU it runs on, so equal hashes mean equal code.
Result<std::uint64_t> vdso_hash();

}  // namespace ferry::proc
