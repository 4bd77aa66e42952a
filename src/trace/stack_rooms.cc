#include "trace/stack_rooms.h"

#include <algorithm>
#include <span>

#include "os/memory.h"

namespace ferry::trace {
namespace {

// glibc's struct pthread takes 2.3 KiB; what aligns it, and pages, some more.
constexpr std::uint64_t kControlBlockBytesMax = 16 << 10;

std::uint64_t word_at(Pid process, std::uint64_t address) {
    std::uint64_t word = 0;
    const iovec local = {.iov_base = &word, .iov_len = sizeof(word)};
    const iovec remote = {.iov_base = reinterpret_cast<void*>(address),  // NOLINT
                          .iov_len = sizeof(word)};
    const auto n = os::process_vm_readv(process, std::span(&local, 1), std::span(&remote, 1));
    return n && *n == sizeof(word) ? word : 0;
}

}  // namespace

bool is_library_stack(AddrRange mapping, RemoteAddr stack_pointer, RemoteAddr control_block,
                      std::uint64_t first_word) {
    return mapping.contains(stack_pointer) && mapping.contains(control_block) &&
           stack_pointer < control_block && mapping.end - control_block <= kControlBlockBytesMax &&
           first_word == control_block.value;
}

StackRooms::StackRooms(AddrRange first_stack, RemoteAddr stack_pointer)
    : first_stack_(first_stack) {
    if (!first_stack.contains(stack_pointer)) return;
    const std::uint64_t free = stack_pointer - first_stack.start;
    rooms_ = (free - std::min(free, kKeptBytes)) / kRoomBytes;
}

StackPlace StackRooms::take() {
    if (taken_ < rooms_) {
        ++taken_;
        return {.top = first_stack_.start.value + taken_ * kRoomBytes};
    }
    return {.is_alone = true};
}

Result<StackPlace> StackRooms::find(const Tracee& stopped, AddrRange mapping) {
    const arch::Registers registers = TRY(stopped.registers());
    const RemoteAddr own{registers.stack_pointer()};
    if (first_stack_.contains(own)) return StackPlace{};
    const std::uint64_t control_block = registers.raw.fs_base;
    // The loader puts the first thread's control block into memory of its own, and the kernel joins
    // that to what is mapped just below: it looks as if it ended a stack.
    const bool is_first = stopped.tid().value == stopped.process().value;
    if (!is_first && is_library_stack(mapping, own, RemoteAddr{control_block},
                                      word_at(stopped.process(), control_block))) {
        return StackPlace{};
    }
    return take();
}

}  // namespace ferry::trace
