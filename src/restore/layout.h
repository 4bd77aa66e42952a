// Where things lie: pure functions on address ranges and mappings.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "model/checkpoint.h"
#include "model/memory.h"

namespace ferry::restore {

// The end of the address space that every x86-64 process has (47 bits less the last page).
inline constexpr RemoteAddr kAddressSpaceEnd{0x7ffffffff000};

// A mapping of a stub. Only kinds that a stub maps itself: Anonymous, AnonShared,
// AnonSharedPrivate, FilePrivate, FileShared; Anonymous without access where an aio ring will lie.
struct MappedVma {
    model::Vma vma;
    std::string path;         // of the file, or what stands for a memfd; empty for anonymous memory
    std::uint32_t ghost = 0;  // RegularFile::ghost
    bool operator==(const MappedVma&) const = default;
};

// What a stub of this process must map, without the vdso and what belongs to it. Unsupported: a
// kind of mapping that is not carried.
Result<std::vector<MappedVma>> wanted_mappings(const model::Checkpoint& checkpoint,
                                               const model::Process& process);

// One step from a layout to another. Steps do not overlap unless they are about the same mapping.
struct LayoutStep {
    enum class Kind : std::uint8_t {
        Unmap,    // range only
        Map,      // target, already cut to range
        Protect,  // to target.vma.protection
        Advise,   // target.vma.advice (its own part; see advice_steps)
        Name,     // target.vma.name
    };
    Kind kind = Kind::Unmap;
    AddrRange range;
    MappedVma target = {};
    std::vector<int> advice = {};  // Advise: MADV_* to call, in this order
};

// The steps that turn `now` into `wanted` (both ascending), first every Unmap, then the rest in
// ascending order. What lies in both and is the same memory (kind, file, offset, growth) stays,
// with its pages. Advice that would change what a fork inherits (DONTFORK, WIPEONFORK) is left out;
// see is_late_advice().
[[nodiscard]] std::vector<LayoutStep> plan_layout(std::span<const MappedVma> now,
                                                  std::span<const MappedVma> wanted);

// True for advice that is given at activation only, because stubs still fork.
[[nodiscard]] bool is_late_advice(int advice);

// A free range of this size that no used range touches, page-aligned: the middle of the largest gap
// in the low 4 GiB, where the kernel places nothing by itself, else of the largest gap at all.
// `used` need not be sorted and may overlap. Error::Kind::Limit if there is none.
Result<RemoteAddr> find_hole(std::vector<AddrRange> used, std::uint64_t bytes);

}  // namespace ferry::restore
