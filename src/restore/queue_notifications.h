// Who is told of the next message of a POSIX queue (mq_notify(3)).
#pragma once

#include "base/error.h"
#include "model/checkpoint.h"
#include "restore/tree.h"

namespace ferry::restore {

// By the process itself, as often as it is registered. It has its descriptors, and closes none of a
// queue any more: that would end the registration.
Result<> register_for_messages(StubProcess& process, const model::Checkpoint& checkpoint,
                               const model::Process& wanted);

}  // namespace ferry::restore
