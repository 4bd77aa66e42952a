#include "blob/restorer/interpreter.h"

#include "blob/runtime/syscall.h"

namespace ferry::blob {
namespace {

// Errno of an operation that makes no sense; the kernel never returns it from a system call.
constexpr std::int64_t kBadProgram = -524;  // ENOTSUPP

std::uint64_t argument(const abi::Op& op, std::size_t index, const abi::Op* program) noexcept {
    const std::uint64_t literal = op.args[index];
    const auto start = reinterpret_cast<std::uint64_t>(program);
    switch (op.sources[index]) {
        case abi::kLiteral:
            return literal;
        case abi::kData:
            return start + literal;
        case abi::kLoad32:
            return static_cast<std::uint64_t>(
                static_cast<std::int64_t>(*reinterpret_cast<const std::int32_t*>(start + literal)));
        default:
            return static_cast<std::uint64_t>(program[op.sources[index]].result) + literal;
    }
}

// clone3(2) whose child gets its own stack: the slot's, for forks and threads alike. The child
// never returns from here, so that nothing of the parent's stack frame is needed in it.
std::int64_t spawn(std::uint64_t arguments, std::uint64_t size, abi::Slot* slot) noexcept {
    std::int64_t result;
    asm volatile(
        "syscall\n\t"
        "test %%rax, %%rax\n\t"
        "jnz 1f\n\t"
        "xor %%ebp, %%ebp\n\t"
        "mov %%rdx, %%rdi\n\t"
        "call ferry_blob_entry\n\t"
        "ud2\n"
        "1:"
        : "=a"(result)
        : "0"(435L), "D"(arguments), "S"(size), "d"(slot)
        : "rcx", "r11", "memory");
    return result;
}

std::int64_t execute(const abi::Op& op, const abi::Op* program) noexcept {
    std::uint64_t a[abi::kArguments];
    for (std::size_t i = 0; i < abi::kArguments; ++i) a[i] = argument(op, i, program);
    switch (op.kind) {
        case abi::OpKind::Call:
            return system_call(op.number, a[0], a[1], a[2], a[3], a[4], a[5]);
        case abi::OpKind::Spawn: {
            auto* slot = reinterpret_cast<abi::Slot*>(a[2]);
            slot->socket = static_cast<std::int32_t>(a[3]);
            slot->next_socket = slot->socket;
            return spawn(a[0], a[1], slot);
        }
        case abi::OpKind::Invalid:
            break;
    }
    return kBadProgram;
}

bool as_expected(const abi::Op& op) noexcept {
    if (op.kind != abi::OpKind::Call && op.kind != abi::OpKind::Spawn) return false;
    switch (op.expect) {
        case abi::Expect::Any:
            return true;
        case abi::Expect::NonNegative:
            return op.result >= 0;
        case abi::Expect::Exact:
            return op.result == op.expected;
    }
    return false;
}

constexpr std::uint64_t kFutexWait = 0, kFutexWake = 1;  // shared between processes

// False when the host is gone.
bool await_doorbell(abi::Slot& slot) noexcept {
    if (slot.socket >= 0) {
        std::uint32_t message = 0;
        const long n = system_call(kSysRecvfrom, static_cast<std::uint64_t>(slot.socket),
                                   reinterpret_cast<std::uint64_t>(&message), sizeof(message));
        return n == sizeof(message);
    }
    for (;;) {
        const std::uint32_t answered = slot.answered;
        if (__atomic_load_n(&slot.doorbell, __ATOMIC_ACQUIRE) != answered) return true;
        system_call(kSysFutex, reinterpret_cast<std::uint64_t>(&slot.doorbell), kFutexWait,
                    answered);
    }
}

void answer(abi::Slot& slot) noexcept {
    const std::uint32_t sequence = __atomic_load_n(&slot.doorbell, __ATOMIC_ACQUIRE);
    __atomic_store_n(&slot.answered, sequence, __ATOMIC_RELEASE);
    if (slot.socket >= 0) {
        constexpr std::uint64_t kNoSignal = 0x4000;  // MSG_NOSIGNAL
        system_call(kSysSendto, static_cast<std::uint64_t>(slot.socket),
                    reinterpret_cast<std::uint64_t>(&sequence), sizeof(sequence), kNoSignal);
    } else {
        system_call(kSysFutex, reinterpret_cast<std::uint64_t>(&slot.answered), kFutexWake,
                    0x7fffffff);
    }
}

}  // namespace

void interpret(abi::Slot& slot) noexcept {
    auto* program = reinterpret_cast<abi::Op*>(slot.program);
    slot.failed = abi::kNoFailure;
    slot.failed_result = 0;
    slot.executed = 0;
    for (std::uint32_t i = 0; i < slot.op_count; ++i) {
        abi::Op& op = program[i];
        op.result = execute(op, program);
        slot.executed = i + 1;
        if (as_expected(op)) continue;
        slot.failed = i;
        slot.failed_result = op.result;
        return;
    }
}

void serve(abi::Slot* slot) noexcept {
    if (slot->socket >= 0) {
        // A fork has its parent's descriptors, among them the parent's socket, which must end when
        // the parent does and not when this task does.
        const auto own = static_cast<std::uint64_t>(slot->socket);
        const std::uint64_t first = slot->first_closed;
        if (own > first) system_call(kSysCloseRange, first, own - 1, 0);
        system_call(kSysCloseRange, own + 1, 0xffffffff, 0);
    }
    for (;;) {
        if (!await_doorbell(*slot)) break;
        interpret(*slot);
        slot->socket = slot->next_socket;
        answer(*slot);
    }
    for (;;) system_call(kSysExitGroup, 1);
}

}  // namespace ferry::blob

extern "C" [[noreturn, gnu::used, gnu::section(".head.text")]] void ferry_blob_entry(
    ferry::abi::Slot* slot) noexcept {
    ferry::blob::serve(slot);
}
