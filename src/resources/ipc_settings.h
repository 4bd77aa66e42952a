// The settings of the calling thread's IPC namespace (/proc/sys).
#pragma once

#include "base/error.h"
#include "model/ipc.h"

namespace ferry::resources {

Result<model::IpcSettings> read_ipc_settings();
// Limits below these are raised, so that what was made under them can be made again.
Result<> loosen_ipc_settings(const model::IpcSettings& wanted);
// When everything is there.
Result<> settle_ipc_settings(const model::IpcSettings& wanted);

}  // namespace ferry::resources
