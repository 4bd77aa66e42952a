// Where the frames of a borrowed thread (remote_calls.h) may lie: some 20 KiB.
//
// Below its stack pointer, if the thread runs on a stack as the kernel or a C library makes it. Not
// on memory that its program shares out itself: the stacks of goroutines, of Erlang's processes or
// of fibers are some KiB long and lie beside each other and beside other data, which threads that
// run meanwhile would find overwritten, and threads that are borrowed at the same time would
// overwrite for each other. Their frames go to the process's first stack, which the kernel makes
// 128 KiB longer than needed (setup_arg_pages() in fs/exec.c): into its lowest part.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "arch/registers.h"
#include "base/error.h"
#include "base/types.h"
#include "trace/tracee.h"

namespace ferry::trace {

struct StackPlace {
    std::uint64_t top = 0;  // 0: below the thread's own stack pointer
    bool is_alone = false;  // no other thread may be borrowed at the same time: no room is left
};

// Of one process, for threads that are borrowed at the same time. Plain data, any thread.
class StackRooms {
  public:
    // XSAVE area, scratch and a long chain (RemoteCalls) with some to spare.
    static constexpr std::uint64_t kRoomBytes = 24 << 10;
    // What the first thread keeps below its stack pointer.
    static constexpr std::uint64_t kKeptBytes = 32 << 10;

    // first_stack: the mapping with the process's first stack, empty if there is none.
    // stack_pointer: of the thread that uses it; if that stands elsewhere, where the stack began.
    StackRooms(AddrRange first_stack, RemoteAddr stack_pointer);

    // For a stopped thread; `mapping` is what its stack pointer points into. The room is the
    // thread's until clear().
    Result<StackPlace> find(const Tracee& stopped, AddrRange mapping);
    void clear() { taken_ = 0; }

    // A room that nobody has; for tests.
    [[nodiscard]] StackPlace take();

  private:
    AddrRange first_stack_;
    std::size_t rooms_ = 0, taken_ = 0;
};

// Whether the C library made this stack: its thread's control block, which begins with its own
// address (glibc's tcbhead_t, musl's struct pthread), ends the mapping.
[[nodiscard]] bool is_library_stack(AddrRange mapping, RemoteAddr stack_pointer,
                                    RemoteAddr control_block, std::uint64_t first_word);

}  // namespace ferry::trace
