// The life of a worker process: one session's half, single-threaded because one thread traces (I5).
// When its agent dies the worker aborts by itself until commit; after commit it finishes forward.
#pragma once

namespace ferry::agent {

// For `ferryd session-worker`. Takes its orders from kWorkerControlFd. Returns the exit status.
int run_worker();

}  // namespace ferry::agent
