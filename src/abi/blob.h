// The contract between the restorer blob and the host that drives it (docs/format/blob_abi.md).
// Both sides include this file and nothing else of each other. Fixed-width fields, no pointers of
// the host; addresses are those of the address space in which the blob lies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace ferry::abi {

inline constexpr std::uint32_t kBlobMagic = 0x31424246;  // "FBB1" in memory order
inline constexpr std::uint32_t kBlobVersion = 2;

// At offset 0 of the flat image; written by blob.lds. Offsets count from the image's start.
struct BlobHeader {
    std::uint32_t magic;
    std::uint32_t version;
    std::uint32_t entry_offset;  // [[noreturn]] void(Slot*): a stub's life
    std::uint32_t
        syscall_offset;  // a `syscall` instruction, for a tracer that has the blob unmapped
    std::uint32_t image_bytes;
    std::uint32_t memory_bytes;  // equals image_bytes: the blob has no variables
};

enum class OpKind : std::uint32_t {
    Invalid = 0,
    Call = 1,  // a system call
    Spawn =
        2,  // clone3: args[0..1] as clone3(2), args[2] the Slot of the new task, args[3] its socket
};

// What an operation's result must be for the program to go on.
enum class Expect : std::uint32_t {
    Any = 0,
    NonNegative = 1,
    Exact = 2,  // equals `expected`
};

// Where the value of an argument comes from. Every other number n is the result of operation n, to
// which the literal is added; n must be below the operation's own index.
inline constexpr std::uint32_t kLiteral = 0xffffffff;  // the literal itself
inline constexpr std::uint32_t kData = 0xfffffffe;  // address: the program's start plus the literal
inline constexpr std::uint32_t kLoad32 =
    0xfffffffd;  // the int32 at the program's start plus the literal

inline constexpr std::size_t kArguments = 6;

struct Op {
    OpKind kind;
    Expect expect;
    std::uint32_t number;  // of the system call
    std::uint32_t reserved;
    std::uint64_t args[kArguments];
    std::uint32_t sources[kArguments];
    std::int64_t expected;
    std::int64_t result;  // written by the blob: what the kernel returned
};

inline constexpr std::uint32_t kNoFailure = 0xffffffff;

// One per stub thread, in memory that the host shares. The task's stack ends where the slot's first
// page ends.
struct Slot {
    // Futexes (shared). The host raises `doorbell`, the blob sets `answered` to it when done.
    std::uint32_t doorbell;
    std::uint32_t answered;
    // A SOCK_SEQPACKET descriptor: the doorbell is then a message of four bytes, and so is the
    // answer; its end (EOF) ends the process. -1: the futexes are the doorbell.
    std::int32_t socket;
    std::int32_t next_socket;  // becomes `socket` when the program has run, before the answer
    std::uint32_t op_count;
    // Descriptors below this one the task keeps when it begins; others but `socket`, which is not
    // below it, are closed.
    std::uint32_t first_closed;
    std::uint64_t program;   // address of Op[op_count]; its data follows
    std::uint32_t failed;    // index of the operation that failed, or kNoFailure
    std::uint32_t executed;  // operations run, the failed one included
    std::int64_t failed_result;
};

template <class T>
inline constexpr bool is_wire_type =
    std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T>;

static_assert(is_wire_type<BlobHeader> && sizeof(BlobHeader) == 24);
static_assert(is_wire_type<Op> && sizeof(Op) == 104);
static_assert(offsetof(Op, args) == 16 && offsetof(Op, sources) == 64);
static_assert(offsetof(Op, expected) == 88 && offsetof(Op, result) == 96);
static_assert(is_wire_type<Slot> && sizeof(Slot) == 48);
static_assert(offsetof(Slot, socket) == 8 && offsetof(Slot, program) == 24);
static_assert(offsetof(Slot, failed) == 32 && offsetof(Slot, failed_result) == 40);

}  // namespace ferry::abi
