// Which pages a forked child still shares with its parent: the same page frame at the same address
// in both. Such a page is sent once, with the parent, and shared again at the destination by
// forking the child's stub from the parent's.
//
// The answer is a snapshot. To use it while both run:
//   1. protect both (Tracker::scan with Protect::Yes), 2. compare, 3. send the shared pages once,
//   from the CHILD's memory or the parent's, 4. until the child's stub has been forked from the
//   parent's: what a later scan reports as written or gone in EITHER of the two must be sent
//   (dropped) for BOTH.
// Step 4 is needed because a parent that writes gets a page of its own, while the child keeps the
// old one without ever having written to it.
#pragma once

#include "base/error.h"
#include "base/types.h"
#include "os/pagemap.h"
#include "pages/run.h"

namespace ferry::pages {

// `candidates`: Scan::present of the child, or a part of it (the zero page is not among them).
// Needs CAP_SYS_ADMIN, without which no page seems shared. Kind::Gone if one of the two has exited.
Result<PageSet> shared_with_parent(Pid child, Pid parent, const PageSet& candidates);
Result<PageSet> shared_with_parent(const os::Pagemap& child, const os::Pagemap& parent,
                                   const PageSet& candidates);

}  // namespace ferry::pages
