#include "arch/signal_frame.h"

#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace ferry::arch {
namespace {

// From the kernel's include/linux/errno.h: codes that never reach userspace.
constexpr long kRestartSys = -512, kRestartNoIntr = -513, kRestartNoHand = -514,
               kRestartBlock = -516;
constexpr std::uint64_t kSyscallBytes = 2;  // of the instruction `syscall`
constexpr std::uint64_t kNoCall = ~std::uint64_t{0};
// The System V ABI lets a function use this much below its stack pointer.
constexpr std::uint64_t kRedZoneBytes = 128;
constexpr std::uint64_t kXsaveAlignment = 64;

// arch/x86/include/uapi/asm/ucontext.h
constexpr std::uint64_t kUcFpXstate = 1, kUcSigcontextSs = 2, kUcStrictRestoreSs = 4;
// Neither SS_ONSTACK nor SS_DISABLE nor 0: rt_sigreturn ignores an invalid alternate stack
// (kernel/signal.c, restore_altstack), and so leaves the thread's own.
constexpr std::uint32_t kKeepAlternateStack = 7;

// arch/x86/include/uapi/asm/sigcontext.h
constexpr std::uint32_t kXstateMagic1 = 0x46505853, kXstateMagic2 = 0x46505845;
constexpr std::size_t kSoftwareBytesOffset = 464, kXstateBvOffset = 512, kXsaveHeaderEnd = 576;
constexpr std::uint64_t kTileFeatures = 3ull << 17;
// Where the standard layout has XTILECFG; nothing of a task without AMX permission lies behind it.
constexpr std::size_t kTileConfigOffset = 2752;

struct SoftwareBytes {  // struct _fpx_sw_bytes
    std::uint32_t magic1, extended_size;
    std::uint64_t features;
    std::uint32_t xstate_size, padding[7];
};
static_assert(sizeof(SoftwareBytes) == 48);

struct SigContext {  // struct sigcontext_64
    std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, flags;
    std::uint16_t cs, gs, fs, ss;
    std::uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8];
};
static_assert(sizeof(SigContext) == 256);

struct RtSigframe {
    std::uint64_t return_address;
    std::uint64_t uc_flags, uc_link;
    std::uint64_t stack_address;
    std::uint32_t stack_flags, stack_padding;
    std::uint64_t stack_size;
    SigContext context;
    std::uint64_t mask;
    std::byte info[128];
};
static_assert(sizeof(RtSigframe) == 440);

// pop_rax's address, 15; the frame's own return address follows.
struct PopChain {
    std::uint64_t pop_rax, number;
};

template <std::size_t N>
std::uint64_t find(std::span<const std::byte> text, std::uint64_t address,
                   const std::array<unsigned char, N>& pattern) {
    const auto* begin = reinterpret_cast<const unsigned char*>(text.data());
    const auto* end = begin + text.size();
    const auto* at = std::search(begin, end, pattern.begin(), pattern.end());
    return at == end ? 0 : address + static_cast<std::uint64_t>(at - begin);
}

constexpr std::uint64_t align_down(std::uint64_t value, std::uint64_t to) {
    return value & ~(to - 1);
}

SigContext context_of(const Registers& registers, std::uint64_t fpstate) {
    const user_regs_struct& r = registers.raw;
    SigContext c = {};
    c.r8 = r.r8, c.r9 = r.r9, c.r10 = r.r10, c.r11 = r.r11;
    c.r12 = r.r12, c.r13 = r.r13, c.r14 = r.r14, c.r15 = r.r15;
    c.di = r.rdi, c.si = r.rsi, c.bp = r.rbp, c.bx = r.rbx;
    c.dx = r.rdx, c.ax = r.rax, c.cx = r.rcx, c.sp = r.rsp;
    c.ip = r.rip, c.flags = r.eflags;
    c.cs = static_cast<std::uint16_t>(r.cs), c.ss = static_cast<std::uint16_t>(r.ss);
    c.gs = static_cast<std::uint16_t>(r.gs), c.fs = static_cast<std::uint16_t>(r.fs);
    c.fpstate = fpstate;
    return c;
}

RtSigframe frame_of(const Registers& registers, std::uint64_t xsave, std::uint64_t mask,
                    const Gadgets& gadgets) {
    RtSigframe frame = {};
    frame.return_address = gadgets.sigreturn != 0 ? gadgets.sigreturn : gadgets.call;
    frame.uc_flags = kUcFpXstate | kUcSigcontextSs | kUcStrictRestoreSs;
    frame.stack_flags = kKeepAlternateStack;
    frame.context = context_of(registers, xsave);
    frame.mask = mask;
    return frame;
}

// The area as the kernel writes it for a handler: what ptrace gives, with the software-reserved
// bytes filled in and the second magic number behind it. Without them rt_sigreturn would restore
// only the legacy SSE part and reset the rest.
std::vector<std::byte> signal_xsave(const XState& xstate) {
    std::vector<std::byte> area = xstate.area;
    std::uint64_t features = 0, in_use = 0;
    std::memcpy(&features, area.data() + kSoftwareBytesOffset, sizeof(features));
    std::memcpy(&in_use, area.data() + kXstateBvOffset, sizeof(in_use));
    if ((features & kTileFeatures) != 0 && (in_use & kTileFeatures) == 0) {
        // The kernel refuses a frame larger than what the task has permission for.
        area.resize(std::min(area.size(), kTileConfigOffset));
        features &= ~kTileFeatures;
    }
    const auto size = static_cast<std::uint32_t>(area.size());
    const SoftwareBytes software = {.magic1 = kXstateMagic1,
                                    .extended_size = size + 4,
                                    .features = features,
                                    .xstate_size = size,
                                    .padding = {}};
    std::memcpy(area.data() + kSoftwareBytesOffset, &software, sizeof(software));
    area.resize(area.size() + sizeof(kXstateMagic2));
    std::memcpy(area.data() + size, &kXstateMagic2, sizeof(kXstateMagic2));
    return area;
}

// `mov $number, %eax; syscall`
std::optional<std::uint64_t> number_loaded_by(std::span<const std::byte> text) {
    constexpr std::byte kLoad{0xb8}, kSyscall[] = {std::byte{0x0f}, std::byte{0x05}};
    std::uint32_t number = 0;
    const bool is_known = text.size() == kCallTextBytes && text[0] == kLoad &&
                          std::ranges::equal(text.subspan(1 + sizeof(number)), kSyscall);
    if (!is_known) return std::nullopt;
    std::memcpy(&number, text.data() + 1, sizeof(number));
    return number;
}

// Where the caller wants to know the rest of its sleep, the kernel has written it when the sleep
// was interrupted.
void ask_for_the_rest(std::uint64_t number, Registers& registers) {
    auto& raw = registers.raw;
    if (number == SYS_nanosleep && raw.rsi != 0) raw.rdi = raw.rsi;
    if (number == SYS_clock_nanosleep && raw.r10 != 0) raw.rdx = raw.r10;
}

}  // namespace

void find_gadgets(std::span<const std::byte> text, std::uint64_t address, Gadgets& found) {
    static constexpr std::array<unsigned char, 3> kCall = {0x0f, 0x05, 0xc3};
    static constexpr std::array<unsigned char, 9> kSigreturn64 = {0x48, 0xc7, 0xc0, 0x0f, 0x00,
                                                                  0x00, 0x00, 0x0f, 0x05};
    static constexpr std::array<unsigned char, 7> kSigreturn32 = {0xb8, 0x0f, 0x00, 0x00,
                                                                  0x00, 0x0f, 0x05};
    static constexpr std::array<unsigned char, 2> kPopRax = {0x58, 0xc3};
    static constexpr std::array<unsigned char, 4> kStoreRsi = {0x48, 0x89, 0x06, 0xc3};
    static constexpr std::array<unsigned char, 4> kStoreRdx = {0x48, 0x89, 0x02, 0xc3};
    static constexpr std::array<unsigned char, 2> kPopRdi = {0x5f, 0xc3};
    static constexpr std::array<unsigned char, 2> kPopRsi = {0x5e, 0xc3};
    if (found.call == 0) found.call = find(text, address, kCall);
    if (found.sigreturn == 0) found.sigreturn = find(text, address, kSigreturn64);
    if (found.sigreturn == 0) found.sigreturn = find(text, address, kSigreturn32);
    if (found.pop_rax == 0) found.pop_rax = find(text, address, kPopRax);
    if (found.store_rsi == 0) found.store_rsi = find(text, address, kStoreRsi);
    if (found.store_rdx == 0) found.store_rdx = find(text, address, kStoreRdx);
    if (found.pop_rdi == 0) found.pop_rdi = find(text, address, kPopRdi);
    if (found.pop_rsi == 0) found.pop_rsi = find(text, address, kPopRsi);
}

bool in_restartable_call(const Registers& registers) {
    if (static_cast<long>(registers.raw.orig_rax) < 0) return false;
    const long result = call_result(registers);
    return result == kRestartSys || result == kRestartNoIntr || result == kRestartNoHand ||
           result == kRestartBlock;
}

bool in_remembered_call(const Registers& registers) {
    return static_cast<long>(registers.raw.orig_rax) >= 0 &&
           call_result(registers) == kRestartBlock;
}

Registers resolve_restart(Registers registers, std::span<const std::byte> text) {
    if (in_restartable_call(registers)) {
        std::optional<std::uint64_t> number = registers.raw.orig_rax;
        if (*number == SYS_restart_syscall) number = number_loaded_by(text);
        if (number) {
            if (in_remembered_call(registers)) ask_for_the_rest(*number, registers);
            registers.raw.rax = *number;
            registers.raw.rip -= kSyscallBytes;
        } else {
            registers.raw.rax = static_cast<std::uint64_t>(-EINTR);
        }
    }
    registers.raw.orig_rax = kNoCall;
    return registers;
}

RestartableSection RestartableSection::decode(std::span<const std::byte, kBytes> bytes) {
    // u32 version, flags; u64 start_ip, post_commit_offset, abort_ip
    std::uint64_t words[4];
    std::memcpy(words, bytes.data(), sizeof(words));
    return {.start = words[1], .length = words[2], .abort = words[3]};
}

Registers leave_section(Registers registers, const RestartableSection& section) {
    if (registers.raw.rip - section.start < section.length) registers.raw.rip = section.abort;
    return registers;
}

std::optional<BorrowedStack> borrow_stack(const Registers& home, const XState& xstate,
                                          std::uint64_t mask, const Gadgets& gadgets,
                                          std::uint64_t top) {
    CHECK(gadgets.complete());
    if (xstate.area.size() < kXsaveHeaderEnd) return std::nullopt;
    const std::vector<std::byte> xsave = signal_xsave(xstate);
    BorrowedStack stack;
    if (top == 0) top = home.raw.rsp - kRedZoneBytes;
    stack.scratch = align_down(top, kXsaveAlignment) - BorrowedStack::kScratchBytes;
    const std::uint64_t fpstate = align_down(stack.scratch - xsave.size(), kXsaveAlignment);
    const std::uint64_t frame_address = align_down(fpstate - sizeof(RtSigframe), 16);
    const bool by_pop = gadgets.sigreturn == 0;
    stack.stack_pointer = frame_address - (by_pop ? sizeof(PopChain) : 0);
    stack.address = frame_address - sizeof(PopChain);

    stack.xsave = fpstate;
    const RtSigframe frame = frame_of(home, fpstate, mask, gadgets);
    const PopChain chain = {.pop_rax = gadgets.pop_rax, .number = SYS_rt_sigreturn};

    stack.bytes.resize(fpstate + xsave.size() - stack.address);
    std::memcpy(stack.bytes.data(), &chain, sizeof(chain));
    std::memcpy(stack.bytes.data() + sizeof(chain), &frame, sizeof(frame));
    std::ranges::copy(xsave,
                      stack.bytes.begin() + static_cast<std::ptrdiff_t>(fpstate - stack.address));
    return stack;
}

CallChain chain_calls(const Registers& home, const BorrowedStack& stack, const Gadgets& gadgets,
                      std::span<const Call> calls, std::uint64_t mask, std::uint64_t last_mask) {
    CHECK(!calls.empty());
    const bool by_pop = gadgets.sigreturn == 0;
    // Upper bound of the whole: each call takes a frame, three words and the alignment.
    const std::uint64_t size = calls.size() * (sizeof(RtSigframe) + 3 * sizeof(std::uint64_t) + 16);
    CallChain chain;
    chain.address = align_down(stack.stack_pointer - size, 16);
    chain.bytes.resize(stack.stack_pointer - chain.address);
    const auto put = [&](std::uint64_t address, const auto& value) {
        std::memcpy(chain.bytes.data() + (address - chain.address), &value, sizeof(value));
    };
    // From the last call to the first; `entry` is where the stack pointer must be for what follows.
    std::uint64_t entry = stack.stack_pointer;
    for (std::size_t i = calls.size(); i-- > 0;) {
        const Call& call = calls[i];
        if (call.result != 0) {
            CHECK(gadgets.can_store());
            entry -= sizeof(std::uint64_t);
            put(entry, gadgets.store_rsi != 0 ? gadgets.store_rsi : gadgets.store_rdx);
        }
        chain.stack_pointer = entry;
        if (i == 0) break;
        const Registers registers = call_registers(home, entry, gadgets, call);
        entry = align_down(entry - sizeof(RtSigframe), 16);
        put(entry,
            frame_of(registers, stack.xsave, i + 1 == calls.size() ? last_mask : mask, gadgets));
        if (by_pop) {
            entry -= sizeof(PopChain);
            put(entry, PopChain{.pop_rax = gadgets.pop_rax, .number = SYS_rt_sigreturn});
        }
    }
    return chain;
}

std::optional<CallChain> load_calls(const BorrowedStack& stack, const Gadgets& gadgets,
                                    std::span<const Call> calls) {
    if (!gadgets.can_load()) return std::nullopt;
    std::vector<std::uint64_t> words;
    for (const Call& call : calls) {
        const auto& a = call.arguments;
        const bool fits =
            std::ranges::all_of(std::span(a).subspan(2),
                                [](std::uint64_t argument) { return argument == 0; }) &&
            (call.result == 0 || a[1] == 0);
        if (!fits) return std::nullopt;
        // call_registers() has loaded the first.
        if (&call != calls.data()) {
            words.insert(words.end(), {gadgets.pop_rax, static_cast<std::uint64_t>(call.number),
                                       gadgets.pop_rdi, a[0], gadgets.pop_rsi,
                                       call.result != 0 ? call.result : a[1], gadgets.call});
        }
        if (call.result != 0) words.push_back(gadgets.store_rsi);
    }
    const auto bytes = std::as_bytes(std::span(words));
    CallChain chain;
    chain.bytes.assign(bytes.begin(), bytes.end());
    chain.address = chain.stack_pointer = stack.stack_pointer - bytes.size();
    return chain;
}

Registers call_registers(const Registers& home, std::uint64_t stack_pointer, const Gadgets& gadgets,
                         const Call& call) {
    Registers r = home;
    r.raw.rip = gadgets.call;
    r.raw.rsp = stack_pointer;
    r.raw.rax = static_cast<std::uint64_t>(call.number);
    r.raw.orig_rax = kNoCall;
    r.raw.rdi = call.arguments[0];
    r.raw.rsi = call.arguments[1];
    r.raw.rdx = call.arguments[2];
    r.raw.r10 = call.arguments[3];
    r.raw.r8 = call.arguments[4];
    r.raw.r9 = call.arguments[5];
    if (call.result != 0) (gadgets.store_rsi != 0 ? r.raw.rsi : r.raw.rdx) = call.result;
    return r;
}

}  // namespace ferry::arch
