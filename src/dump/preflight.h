// What is refused before anything is stopped, by name. Everything here reads /proc only.
#pragma once

#include <optional>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "model/process.h"
#include "proc/process_directory.h"
#include "proc/user_namespace.h"

namespace ferry::dump {

// Gone: no such process. Invalid: no process id at all, ourselves, or one of our ancestors (which
// we could not stop without stopping ourselves).
Result<> check_root(Pid root);

// The namespaces that every process of the tree is in.
struct Home {
    model::NamespaceIds namespaces;
    bool is_container = false;  // not ours
    bool has_own_ipc = false;   // an IPC namespace that is the container's alone
    bool has_own_time = false;  // another time namespace than ours
    std::optional<proc::UserNamespace> users = {};  // the container's, if it is not ours
};
// Ours, or, for a container, those of its first process; the time namespace is always its first
// process's. Unsupported: a container with our pid or mount namespace, with a user namespace that
// was made inside or has no root, or with an IPC namespace that somebody outside of it is in.
Result<Home> find_home(Pid root, bool is_container);

// One process of the tree, zombies excepted. Invalid: a kernel thread, or traced by somebody.
// Unsupported: seccomp filters that resources/seccomp.h refuses, other namespaces than the tree's
// or ids that its user namespace has not,
// a 32-bit program, stopped by SIGSTOP, dumping core.
Result<> check_process(Pid pid, const proc::ProcessDirectory& directory, const Home& home);

// The root's session and process group must be led from within the tree, or a restored tree could
// not be put into them. `pids` is the tree. With a shell job (the restoring shell's session takes
// their place) anything goes.
Result<> check_session(const proc::Stat& root, const std::vector<Pid>& pids, bool shell_job);

}  // namespace ferry::dump
