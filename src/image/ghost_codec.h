// Unlinked files to and from ghost-file-ID.img (ID in hexadecimal), and who refers to them,
// remap-fpath.img. Private to image/.
#pragma once

#include <map>

#include "base/error.h"
#include "image/store.h"
#include "model/checkpoint.h"

namespace ferry::image {

// `fifos`: under which number each FIFO's path is in files.img.
Result<> put_ghosts(const model::Checkpoint& checkpoint,
                    const std::map<model::FileId, model::FileId>& fifos, ImageStore& into);
// Needs the files of the checkpoint, and fills in which of them are ghosts. Unsupported: files that
// CRIU has given another name (--link-remap), or that are of a process that has ended.
Result<> get_ghosts(const ImageStore& from, model::Checkpoint& into);

}  // namespace ferry::image
