// The content of shared anonymous memory into its pages file, once for all that map it.
#pragma once

#include "base/error.h"
#include "dump/parent_images.h"
#include "image/page_files.h"
#include "model/checkpoint.h"

namespace ferry::dump {

// Every page that the object holds, swapped ones included, whoever touched it; addresses are
// offsets in the object. Who maps it must stand still, except for a pre-dump. `parent` as of
// dump_pages().
Result<> dump_shared_memory(const model::SharedMemory& memory, const ParentPages* parent,
                            image::PagemapWriter& into);

}  // namespace ferry::dump
