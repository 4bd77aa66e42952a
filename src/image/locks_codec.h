// Locks of files to and from filelocks.img. Private to image/.
#pragma once

#include "base/error.h"
#include "image/store.h"
#include "model/checkpoint.h"

namespace ferry::image {

Result<> put_locks(const model::Checkpoint& checkpoint, ImageStore& into);
// Unsupported: leases.
Result<> get_locks(const ImageStore& from, model::Checkpoint& into);

}  // namespace ferry::image
