// Brings a stub's mappings to what the model says.
#pragma once

#include "base/error.h"
#include "model/checkpoint.h"
#include "restore/tree.h"

namespace ferry::restore {

// Unmaps, maps and changes the difference; files are opened here by path and checked against the
// model (size, build id). Invalid: a file that is missing or differs, by name. Unsupported: a
// mapping where the blob lies.
Result<> apply_layout(Tree& tree, StubProcess& process, const model::Checkpoint& checkpoint,
                      const model::Process& wanted);

// The vdso moves from where it is parked to where the model has it, or goes. Advice that concerns
// forks, locked memory. For activation.
Result<> finish_layout(Tree& tree, StubProcess& process, const model::Process& wanted);

// Unsupported when the target's vdso mappings are not ours in number and size.
Result<> check_vdso(const Tree& tree, const model::Process& wanted);

}  // namespace ferry::restore
