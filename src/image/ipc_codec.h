// An IPC namespace to and from ipcns-*.img, and ferry.json, as CRIU has no POSIX message queues.
// Private to image/.
#pragma once

#include "base/error.h"
#include "image/proto/ferry.pb.h"
#include "image/store.h"
#include "model/checkpoint.h"

namespace ferry::image {

// Nothing where the tree has none of its own.
Result<> put_ipc(const model::Checkpoint& checkpoint, ImageStore& into,
                 wire::FerryCheckpoint& extra);
Result<> get_ipc(const ImageStore& from, const wire::FerryCheckpoint& extra,
                 model::Checkpoint& into);

}  // namespace ferry::image
