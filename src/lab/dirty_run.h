// `ferry lab run dirty`: what happens when pre-copy cannot win. A service that writes memory faster
// than the link carries it crosses to platform 2 by the engine's default (it is frozen for as long
// as the rest takes) and back with --on-no-convergence throttle (it is slowed down until it fits).
#pragma once

#include <cstdint>

#include "base/error.h"
#include "lab/display.h"
#include "lab/interrupt.h"
#include "lab/run_record.h"
#include "migrate/report.h"

namespace ferry::lab {

struct DirtyOptions {
    std::uint64_t mib = 256;            // of memory that is written round and round
    double mib_per_second = 300;        // written; 1 Gbit/s carries 119
    double link_bits_per_second = 1e9;  // each way; must not be 0 for the purpose of this
};

// From the main thread.
Result<RunRecord> run_dirty(const DirtyOptions& options, int number, InterruptGuard& guard,
                            Display& display);

// What the engine gave pre-copy up for, after which round, and what every method would have cost
// from there on; nullopt where it did not have to. `begin_ns`: when the crossing began.
[[nodiscard]] std::optional<MethodChange> method_change(const migrate::Report& report,
                                                        std::int64_t begin_ns);

}  // namespace ferry::lab
