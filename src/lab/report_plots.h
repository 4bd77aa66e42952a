// Which plots a report has of a run: timelines of what was sampled, with the phases behind them,
// and the rounds of a pre-copy.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lab/plot.h"
#include "lab/run_record.h"

namespace ferry::lab {

// One kind of timeline: the quantities that share a plot.
struct TimelineKind {
    std::string_view name;   // in file names: "memory"
    std::string_view title;  // "Memory"
    std::string_view axis;   // "memory"; its unit follows
    std::vector<Quantity> quantities;
    bool log_y = false;
};
// In the order of the report.
[[nodiscard]] const std::vector<TimelineKind>& timeline_kinds();

// The axes that two runs beside each other share.
struct TimelineAxes {
    double seconds = 1;
    double greatest = 0;  // of the values, in the unit of the series
};
void widen(TimelineAxes& axes, const RunRecord& run, const TimelineKind& kind);

// nullopt if nothing of that kind was sampled. `name` is of the files.
[[nodiscard]] std::optional<Plot> timeline(const RunRecord& run, const TimelineKind& kind,
                                           const TimelineAxes& axes, std::string name);
// What the letters at the lines of a timeline mean: "a: the load has settled (at 2.0 s)".
[[nodiscard]] std::string marks_legend(const RunRecord& run);

// Dirty rate against bandwidth over the time of a crossing's pre-copy; nullopt without rounds.
[[nodiscard]] std::optional<Plot> rounds_plot(const CrossingRecord& crossing, std::string name);
// What the engine judged by, or else what follows from the round's figures; bytes per second.
[[nodiscard]] std::optional<double> dirty_rate_of(const RoundRecord& round);
[[nodiscard]] std::optional<double> bandwidth_of(const RoundRecord& round);

}  // namespace ferry::lab
