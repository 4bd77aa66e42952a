// Scenario "dirty": when pre-copy cannot win. A service that writes memory faster than the link
// carries it crosses to platform 2 by the engine's default (it is frozen for as long as the rest
// takes) and back with --on-no-convergence throttle (it is slowed down until it fits).
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "lab/display.h"
#include "lab/interrupt.h"
#include "lab/run_record.h"
#include "lab/site_lab.h"
#include "migrate/report.h"

namespace ferry::lab {

struct DirtyOptions {
    std::uint64_t mib = 0;      // of memory that is written round and round
    double mib_per_second = 0;  // written
    std::string cache;          // of bundles
};

// For a link of this rate, which must not be 0: memory that takes it two seconds, written two and a
// half times as fast as it carries it.
[[nodiscard]] DirtyOptions dirty_options(double link_bits_per_second, std::string cache);

// From the main thread. Of the lab's options, those that say where the platforms are and what is
// between them.
Result<RunRecord> run_dirty(const SiteLabOptions& lab, const DirtyOptions& options, int number,
                            InterruptGuard& guard, Display& display);

// What the engine gave pre-copy up for, after which round, and what every method would have cost
// from there on; nullopt where it did not have to. `begin_ns`: when the crossing began.
[[nodiscard]] std::optional<MethodChange> method_change(const migrate::Report& report,
                                                        std::int64_t begin_ns);

}  // namespace ferry::lab
