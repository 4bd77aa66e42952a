// signalfd(2) descriptors: the set of signals that they take, as fdinfo shows it. Signals that wait
// to be read are the process's own pending ones.
#pragma once

#include "base/error.h"
#include "model/files.h"
#include "os/fd.h"
#include "resources/descriptions.h"

namespace ferry::resources {

// Corrupt: the kernel shows no mask.
Result<model::SignalFd> read_signalfd(const Slot& slot);
Result<os::UniqueFd> open_signalfd(const model::SignalFd& signals);

}  // namespace ferry::resources
