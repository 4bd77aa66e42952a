// Runs one program of system calls.
#pragma once

#include "abi/blob.h"

namespace ferry::blob {

// Runs slot.program up to its end or the first operation whose result is not the expected one, and
// writes what happened into the slot and the operations.
void interpret(abi::Slot& slot) noexcept;

// A stub's life: waits for doorbells and interprets programs until its socket ends.
[[noreturn]] void serve(abi::Slot* slot) noexcept;

}  // namespace ferry::blob
