// Reads with O_DIRECT that are under way in a running process. The device fills their pages by
// itself, after the system call has made them writable: a page that was protected in between is
// written without a trace (pages/tracker.h). So after pages were protected, and before they are
// read, this finds those that a device may still write to.
#pragma once

#include "base/error.h"
#include "base/types.h"
#include "pages/run.h"

namespace ferry::dump {

// What calls of read(2), pread(2), readv(2), preadv(2) that were under way when this was called may
// fill. A call that is not in it, and began before, has ended. Threads that can be seen neither to
// wait in such a call nor to be elsewhere are stopped for some microseconds, which ends their call;
// only in processes that have a file open with O_DIRECT. Not found: a call on a descriptor that was
// closed meanwhile, if it is not waiting yet. Requests of an aio context have ended when this
// returns (Unsupported if that cannot be told); the process may stand still meanwhile. A process
// that vanishes is no error. Traces: on the tracing thread only (I5), and not in the freeze, when
// there is nothing under way.
Result<pages::PageSet> direct_reads_under_way(Pid pid);

}  // namespace ferry::dump
