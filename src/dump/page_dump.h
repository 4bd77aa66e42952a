// The pages of a frozen process into its pages file, as fast as memory allows: two threads, each
// with a buffer that stays in its core's cache, at offsets that are known beforehand.
#pragma once

#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "dump/parent_images.h"
#include "image/page_files.h"
#include "model/process.h"

namespace ferry::dump {

// Of a pre-dump the content may be of any moment, or of none: whoever refers to it compares.
enum class Stillness : bool { Runs, StandsStill };

// Every page with content of its own, and the vdso's text, which other engines compare. `parent`:
// what is there as it is now is left there; may be null. `guards` becomes the guard pages, which
// have no content (AddressSpace::guards). Reports a full disk. Gone: the process has ended, or a
// page has vanished though it stands still.
Result<> dump_pages(const model::Process& process, Stillness stillness, const ParentPages* parent,
                    image::PagemapWriter& into, std::vector<AddrRange>& guards);

}  // namespace ferry::dump
