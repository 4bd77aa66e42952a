// XSAVE areas to and from CRIU's record of them, which holds each component by itself, so that
// images can move between CPUs whose areas are laid out differently. Private to image/.
#pragma once

#include "arch/registers.h"
#include "base/error.h"
#include "image/proto/process.pb.h"

namespace ferry::image {

// area is in the layout of this CPU. Unsupported: it holds a component that the format has no field
// for (AMX tiles, shadow stacks). An empty area gives the state that a program starts with.
Result<> xstate_to_wire(const arch::XState& state, wire::X86FpRegisters& into);

// The result is in the layout of this CPU. Unsupported: this CPU lacks a component that is in use.
Result<arch::XState> xstate_from_wire(const wire::X86FpRegisters& from);

}  // namespace ferry::image
