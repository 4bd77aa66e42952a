// What is refused before anything is stopped, by name. Everything here reads /proc only.
#pragma once

#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "model/process.h"
#include "proc/process_directory.h"

namespace ferry::dump {

// Gone: no such process. Invalid: no process id at all, ourselves, or one of our ancestors (which
// we could not stop without stopping ourselves).
Result<> check_root(Pid root);

// One process of the tree, zombies excepted. Invalid: a kernel thread, or traced by somebody.
// Unsupported: seccomp filters that resources/seccomp.h refuses, other namespaces than ours, a
// 32-bit program, stopped by SIGSTOP, dumping core.
Result<> check_process(Pid pid, const proc::ProcessDirectory& directory,
                       const model::NamespaceIds& ours);

// The root's session and process group must be led from within the tree, or a restored tree could
// not be put into them. `pids` is the tree. With a shell job (the restoring shell's session takes
// their place) anything goes.
Result<> check_session(const proc::Stat& root, const std::vector<Pid>& pids, bool shell_job);

}  // namespace ferry::dump
