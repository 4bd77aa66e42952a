// The memory that the host shares with every stub of a tree: the blob's image and one slot per stub
// thread. In each stub it lies at the same address, the hole, which no target mapping may touch;
// behind it is room to park the vdso. It is the last thing that is unmapped in a task.
//
//   | image (r-x) | slot 0 | slot 1 | ... | park |
//
// A slot is 32 KiB: a page with abi::Slot and the thread's stack, then room for programs. A
// process's first thread has several slots in a row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "abi/blob.h"
#include "base/error.h"
#include "base/types.h"
#include "os/clone.h"
#include "os/fd.h"
#include "os/memory.h"

namespace ferry::restore {

inline constexpr std::uint64_t kSlotBytes = 32u << 10;
inline constexpr std::uint32_t kLeaderSlots = 8;
inline constexpr std::uint64_t kParkBytes = 64u << 10;

// Slots in a row. Valid as long as its Arena.
struct SlotRun {
    std::uint32_t first = 0, count = 0;
};

class Arena {
  public:
    [[nodiscard]] static std::uint64_t bytes_for(std::uint32_t slots);
    static Result<Arena> create(RemoteAddr base, std::uint32_t slots);

    [[nodiscard]] AddrRange hole() const { return {base_, park() + kParkBytes}; }
    [[nodiscard]] RemoteAddr park() const { return base_ + memory_.size(); }
    // A `syscall` instruction in every stub.
    [[nodiscard]] RemoteAddr syscall_instruction() const { return syscall_; }

    // Error::Kind::Limit when every slot is taken.
    Result<SlotRun> allocate(std::uint32_t count);
    void release(SlotRun run);

    [[nodiscard]] abi::Slot& slot(SlotRun run) const;
    [[nodiscard]] RemoteAddr address(SlotRun run) const;
    [[nodiscard]] RemoteAddr stack_top(SlotRun run) const { return address(run) + kPageSize; }
    // Where programs are loaded.
    [[nodiscard]] std::span<std::byte> program_area(SlotRun run) const;
    [[nodiscard]] RemoteAddr program_address(SlotRun run) const { return address(run) + kPageSize; }

    // For the first stub.
    [[nodiscard]] os::FlatImage image(SlotRun run) const;

  private:
    os::UniqueFd fd_;
    os::Mapping memory_;
    RemoteAddr base_, entry_, syscall_;
    std::uint64_t code_bytes_ = 0;
    std::vector<bool> used_;
};

}  // namespace ferry::restore
