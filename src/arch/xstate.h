// Where the parts of an XSAVE area lie, in the standard (non-compacted) layout that NT_X86_XSTATE
// and signal frames use. Offsets differ between CPU makers (AMD has no MPX, so what follows it
// moves). Source: Intel SDM volume 1, 13.4 and CPUID leaf 0DH.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

#include "arch/registers.h"

namespace ferry::arch {

// State component numbers (bits of XCR0 and XSTATE_BV) with a place of their own in the area.
// x87 (0) and SSE (1) are in the legacy region, the first 512 bytes.
enum class XComponent : unsigned {
    Avx = 2,
    BoundRegisters = 3,
    BoundConfig = 4,
    Opmask = 5,
    ZmmUpper = 6,
    Hi16Zmm = 7,
    ProtectionKeys = 9,
};

inline constexpr std::size_t kXsaveLegacyBytes = 512;
inline constexpr std::size_t kXsaveHeaderBytes = 64;
inline constexpr std::size_t kXstateBvOffset = 512;
// Linux keeps the mask of enabled components here, in bytes that the CPU leaves to software
// (arch/x86/kernel/fpu/xstate.c, xstate_fx_sw_bytes).
inline constexpr std::size_t kXsaveFeaturesOffset = 464;

struct XStateLayout {
    struct Place {
        std::uint32_t offset = 0, size = 0;
        bool operator==(const Place&) const = default;
    };
    std::uint64_t features = 0;  // XCR0
    std::uint32_t bytes = 0;     // of the whole area
    // By component number, 2 and up.
    std::map<unsigned, Place> places;

    // Of the CPU this program runs on; read once.
    static const XStateLayout& of_this_cpu();

    // Null if this CPU does not have the component.
    [[nodiscard]] const Place* find(XComponent component) const {
        const auto found = places.find(static_cast<unsigned>(component));
        return found == places.end() ? nullptr : &found->second;
    }
};

}  // namespace ferry::arch
