// The pages of a frozen process into its pages file, as fast as memory allows: two threads, each
// with a buffer that stays in its core's cache, at offsets that are known beforehand.
#pragma once

#include "base/error.h"
#include "image/page_files.h"
#include "model/process.h"

namespace ferry::dump {

// Every page with content of its own, and the vdso's text, which other engines compare. The process
// must stand still. Reports a full disk.
Result<> dump_pages(const model::Process& process, image::PagemapWriter& into);

}  // namespace ferry::dump
