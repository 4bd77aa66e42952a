// The service of scenario "dirty": a container with one program, ferry-dirty-writer, which writes
// its memory round and round at a given rate and answers datagrams (workload/dirty_writer.cc).
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "lab/interrupt.h"
#include "lab/site_lab.h"

namespace ferry::lab {

struct WriterOptions {
    std::uint64_t mib = 0;      // of memory
    double mib_per_second = 0;  // written; 0: each page once, before it answers
    std::string cache;          // of bundles, here and on real machines
};

// A lab with the service on platform 1 as its site 0; it answers datagrams when this returns. What
// `lab` says of bundle, service, arguments and sizes is not used. From the main thread.
Result<std::unique_ptr<SiteLab>> start_writer(SiteLabOptions lab, const WriterOptions& options,
                                              InterruptGuard& guard);

// Ends it, wherever it is. "": every page held what was written there last; otherwise what was
// wrong, in one line.
Result<std::string> end_writer(SiteLab& lab);

}  // namespace ferry::lab
