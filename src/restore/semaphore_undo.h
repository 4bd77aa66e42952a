// What a process's end adds to System V semaphores (SEM_UNDO).
#pragma once

#include "base/error.h"
#include "model/checkpoint.h"
#include "restore/tree.h"

namespace ferry::restore {

// By the process itself, for all its threads. The semaphores have their values, which stay.
Result<> set_semaphore_undo(StubProcess& process, const model::Checkpoint& checkpoint,
                            const model::Process& wanted);

}  // namespace ferry::restore
