// Brings descriptors into the tasks.
#pragma once

#include "base/error.h"
#include "model/checkpoint.h"
#include "restore/staged_tree.h"
#include "restore/tree.h"

namespace ferry::restore {

// The final descriptor table, but for the blob's own socket, which has a number that the table does
// not use.
Result<> place_descriptors(StubProcess& process, const model::Process& wanted,
                           const FileLookup& files);

// After every process has its table: each epoll descriptor watches what it watched, with its data.
Result<> add_epoll_targets(Tree& tree, const model::Checkpoint& checkpoint);

// exe, cwd and root, and prctl(PR_SET_MM_MAP), which wants the first of them.
Result<> set_process_files(StubProcess& process, const model::Checkpoint& checkpoint,
                           const model::Process& wanted, const FileLookup& files);

// A number that no descriptor of the process has: above all of them if the limit allows.
[[nodiscard]] int free_number(const std::vector<model::Descriptor>& descriptors,
                              std::uint64_t limit);

}  // namespace ferry::restore
