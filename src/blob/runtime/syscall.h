// The system call instruction. Results are the kernel's: negative errno on failure.
#pragma once

#include <cstdint>

namespace ferry::blob {

// x86-64 numbers of the few calls that the blob makes by itself.
inline constexpr long kSysSendto = 44;
inline constexpr long kSysRecvfrom = 45;
inline constexpr long kSysFutex = 202;
inline constexpr long kSysExitGroup = 231;
inline constexpr long kSysCloseRange = 436;

// As many parameters as the kernel takes. NOLINTNEXTLINE(readability-function-size)
inline long system_call(long number, std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0,
                        std::uint64_t d = 0, std::uint64_t e = 0, std::uint64_t f = 0) noexcept {
    register std::uint64_t r10 asm("r10") = d;
    register std::uint64_t r8 asm("r8") = e;
    register std::uint64_t r9 asm("r9") = f;
    long result;
    asm volatile("syscall"
                 : "=a"(result)
                 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}

}  // namespace ferry::blob
