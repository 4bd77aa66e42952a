// The registers of one thread, per CPU. The only place, with arch/x86_64/, that knows the CPU.
#pragma once

#include <sys/user.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace ferry::arch {

// General-purpose registers in the layout of PTRACE_GETREGSET(NT_PRSTATUS).
struct Registers {
    user_regs_struct raw = {};
    bool operator==(const Registers& o) const {
        return std::memcmp(&raw, &o.raw, sizeof(raw)) == 0;
    }

    [[nodiscard]] std::uint64_t instruction_pointer() const { return raw.rip; }
    [[nodiscard]] std::uint64_t stack_pointer() const { return raw.rsp; }
};

// FPU and vector state: the XSAVE area in standard (non-compacted) layout, as NT_X86_XSTATE gives
// it. XSTATE_BV is at byte 512, the enabled mask (XCR0) in the software-reserved bytes at 464.
struct XState {
    std::vector<std::byte> area;
    bool operator==(const XState&) const = default;
};

}  // namespace ferry::arch
