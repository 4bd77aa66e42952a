// Ferry's own report on a migration as a part of a run's record.
#pragma once

#include <string>
#include <vector>

#include "lab/run_record.h"
#include "migrate/report.h"

namespace ferry::lab {

// What the record needs and the report does not know.
struct CrossingPlace {
    int number = 0;
    int from = 0, to = 0;  // platforms
    std::vector<std::string> containers = {};
    std::int64_t ended_ns = 0;  // when the report came, on the run's clock
};

// Phases, rounds, bytes, memory, counts. The report has durations only: its end is laid on
// `ended_ns`, and the parts of the freeze follow each other from its beginning (checkpoint, with
// the transfer of what was written last, then restore). Client figures and all memory are the
// caller's.
[[nodiscard]] CrossingRecord crossing_record(const migrate::Report& report,
                                             const CrossingPlace& place);

}  // namespace ferry::lab
