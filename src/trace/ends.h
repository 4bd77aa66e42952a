// The end of threads that we trace and that have been killed.
#pragma once

#include <chrono>
#include <vector>

#include "base/error.h"
#include "base/types.h"

namespace ferry::trace {

// Waits until each of them has ended, and reaps it, in whatever order they end: the last thread of
// a pid namespace's first process only does when nothing else is left in the namespace, those that
// wait for us to reap them included (kernel: zap_pid_ns_processes). Ids that are nobody's are no
// error. Limit: some still live after the timeout.
Result<> await_ends(std::vector<Tid> threads, std::chrono::milliseconds timeout);

}  // namespace ferry::trace
