// clone3(2) with a chosen pid, for a child that does not run our program but a flat image.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "base/types.h"

namespace ferry::os {

// A shared memory object (memfd) that holds code at its start, a stack and an argument.
struct FlatImage {
    int memory = -1;               // the memfd; mapped whole, shared
    std::uint64_t base = 0;        // where the child maps it; must be free in our layout
    std::uint64_t bytes = 0;       // of the whole object
    std::uint64_t code_bytes = 0;  // from its start: read and execute; the rest read and write
    std::uint64_t entry = 0;       // address in the child of void(void*)
    std::uint64_t argument = 0;    // address in the child
    std::uint64_t stack_top = 0;   // address in the child, 16-byte aligned
    bool sibling = false;          // CLONE_PARENT
};

// Forks a child with this pid (set_tid, Linux 5.5) that maps the image, with all signals blocked
// and its rseq registration removed, and enters it. The rest of its address space is still a copy
// of ours. The caller gets to know about failures in the child by the end of whatever connects the
// two. EEXIST: the pid is in use.
Result<> fork_into_image(Pid pid, const FlatImage& image);

// PR_SET_CHILD_SUBREAPER and what it was before.
Result<bool> child_subreaper();
Result<> set_child_subreaper(bool on);

}  // namespace ferry::os
