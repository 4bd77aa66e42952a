// Tells which pages of an object of shared memory were taken out of it since we last looked: thrown
// away (MADV_REMOVE, FALLOC_FL_PUNCH_HOLE, ftruncate(2)), whether they are there again or not. No
// mark in a page table of those who map it tells: the kernel keeps the mark of protection where the
// page was, and a page that is read there again is protected as if nothing had been.
//
// We map the object ourselves and let the kernel enter its pages, without reading through them. It
// takes out of our page table whatever leaves the object. What it takes out for other reasons
// (reclaim, migration) is named as well, which costs time only.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "os/memory.h"
#include "pages/run.h"

namespace ferry::pages {

// Of one object. find_lost() may be called by another thread while nothing else is.
class HeldPages {
  public:
    // The part of `data` that is not held (any more). In blocks of 64 KiB, because the kernel
    // enters neighbours unasked (fault-around), which so are always looked at in time.
    [[nodiscard]] Result<PageSet> find_lost(const PageSet& data) const;
    // From here on these count as held: pages that find_lost() has named, or that are new in the
    // object, and that are read afterwards.
    Result<> hold(int fd, std::uint64_t bytes, const PageSet& pages);

  private:
    [[nodiscard]] RemoteAddr start() const {
        return RemoteAddr{reinterpret_cast<std::uint64_t>(mapping_.data())};
    }
    os::Mapping mapping_;
};

}  // namespace ferry::pages
