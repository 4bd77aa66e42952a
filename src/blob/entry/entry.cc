// The program that a container runtime executes as the first process of a container which Ferry is
// about to fill (docs/format/blob_abi.md): it maps a shared memory object and goes on in it, like a
// stub that was forked. It has no library, no variables and no way back.
//
// Arguments behind argv[0], hexadecimal: how often it has begun, then what os::FlatImage says.
// Exit status: 120 + the step that failed.
#include "abi/entry.h"

#include "blob/runtime/syscall.h"

namespace ferry::blob {
namespace {

constexpr long kSysMmap = 9, kSysSigprocmask = 14, kSysDup3 = 292, kSysExecve = 59;
constexpr std::uint64_t kProtRead = 1, kProtWrite = 2, kProtExec = 4;
constexpr std::uint64_t kSharedAtFreePlace = 0x1 | 0x100000;  // MAP_SHARED | MAP_FIXED_NOREPLACE
constexpr long kExists = -17;                                 // EEXIST

[[noreturn]] void stop(std::uint64_t step) noexcept {
    for (;;) system_call(kSysExitGroup, 120 + step);
}

std::uint64_t number(const char* text) noexcept {
    std::uint64_t value = 0;
    for (; *text != '\0'; ++text) {
        const bool digit = *text >= '0' && *text <= '9';
        if (!digit && (*text < 'a' || *text > 'f')) stop(1);
        value = value * 16 + static_cast<std::uint64_t>(digit ? *text - '0' : *text - 'a' + 10);
    }
    return value;
}

// The kernel has put our stack, our text or the vdso where the image must lie, at random: another
// throw of the dice.
[[noreturn]] void begin_again(char** argv, char** environment) noexcept {
    char& attempts = argv[1][0];
    if (attempts == '9') stop(2);
    ++attempts;
    system_call(kSysExecve, reinterpret_cast<std::uint64_t>(argv[0]),
                reinterpret_cast<std::uint64_t>(argv),
                reinterpret_cast<std::uint64_t>(environment));
    stop(3);
}

[[noreturn]] void enter(std::uint64_t entry, std::uint64_t argument, std::uint64_t stack) noexcept {
    asm volatile(
        "mov %%rdx, %%rsp\n\t"
        "xor %%ebp, %%ebp\n\t"
        "call *%%rax\n\t"
        "ud2"
        :
        : "d"(stack), "a"(entry), "D"(argument)
        : "memory");
    __builtin_unreachable();
}

}  // namespace

// `stack` is what the kernel left there: argc, argv, 0, environment, 0.
[[noreturn]] void begin(std::uint64_t* stack) noexcept {
    if (stack[0] != abi::kEntryArguments) stop(4);
    auto** argv = reinterpret_cast<char**>(stack + 1);
    auto** environment = argv + stack[0] + 1;
    std::uint64_t given[abi::kEntryArguments];
    for (std::size_t i = 1; i < abi::kEntryArguments; ++i) given[i] = number(argv[i]);
    const auto of = [&given](abi::EntryArgument which) {
        return given[static_cast<std::size_t>(which)];
    };

    const std::uint64_t all_signals = ~std::uint64_t{0};
    system_call(kSysSigprocmask, 0, reinterpret_cast<std::uint64_t>(&all_signals), 0,
                sizeof(all_signals));
    const std::uint64_t memory = of(abi::EntryArgument::Memory);
    const std::uint64_t base = of(abi::EntryArgument::Base);
    const std::uint64_t bytes = of(abi::EntryArgument::Bytes);
    const std::uint64_t code_bytes = of(abi::EntryArgument::CodeBytes);
    // As one first, so that a collision is found before anything is in place.
    const long mapped =
        system_call(kSysMmap, base, bytes, kProtRead | kProtWrite, kSharedAtFreePlace, memory, 0);
    if (mapped == kExists) begin_again(argv, environment);
    if (mapped < 0) stop(5);
    constexpr std::uint64_t kSharedInPlace = 0x1 | 0x10;  // MAP_SHARED | MAP_FIXED
    if (system_call(kSysMmap, base, code_bytes, kProtRead | kProtExec, kSharedInPlace, memory, 0) <
        0) {
        stop(6);
    }
    // Last: only now the number may be that of a descriptor of ours.
    const std::uint64_t socket = of(abi::EntryArgument::Socket);
    const std::uint64_t socket_number = of(abi::EntryArgument::SocketNumber);
    if (socket != socket_number && system_call(kSysDup3, socket, socket_number) < 0) stop(7);
    enter(of(abi::EntryArgument::Entry), of(abi::EntryArgument::Argument),
          of(abi::EntryArgument::StackTop));
}

}  // namespace ferry::blob

// The stack is aligned when the kernel enters here.
asm(R"(
    .pushsection .head.text, "ax", @progbits
    .global ferry_entry_start
    .hidden ferry_entry_start
ferry_entry_start:
    xor %ebp, %ebp
    mov %rsp, %rdi
    call ferry_entry_begin
    ud2
    .popsection
)");

extern "C" [[noreturn, gnu::used]] void ferry_entry_begin(std::uint64_t* stack) noexcept {
    ferry::blob::begin(stack);
}
