// An IPC namespace to and from ipcns-*.img. Private to image/.
#pragma once

#include "base/error.h"
#include "image/store.h"
#include "model/checkpoint.h"

namespace ferry::image {

// Nothing where the tree has none of its own.
Result<> put_ipc(const model::Checkpoint& checkpoint, ImageStore& into);
Result<> get_ipc(const ImageStore& from, model::Checkpoint& into);

}  // namespace ferry::image
