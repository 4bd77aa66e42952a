// Figures drawn from a record: over the runs of one scenario and method, over the crossings of a
// run.
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "lab/run_record.h"

namespace ferry::lab {

using Runs = std::vector<const RunRecord*>;
[[nodiscard]] Runs runs_of(const LabRecord& record, std::string_view scenario, Method method);

// How a figure varies; of at least one value.
struct Spread {
    double median = 0, least = 0, greatest = 0;
    std::size_t count = 0;
};
[[nodiscard]] std::optional<Spread> spread(std::vector<double> values);

// One kind of phase on one platform over a run: where several containers crossed one after the
// other the times add up, where they crossed together the time counts once; the memory is that
// before the first and after the last. Successful crossings only.
struct PhaseFigure {
    double milliseconds = 0;
    MemoryRecord memory_before, memory_after;
};
[[nodiscard]] std::optional<PhaseFigure> phase_figure(const RunRecord& run, PhaseKind kind,
                                                      int platform);
// One kind of phase of one crossing; nullptr if it has none.
[[nodiscard]] const PhaseRecord* find_phase(const CrossingRecord& crossing, PhaseKind kind);

// The service's memory after a crossing over that before.
[[nodiscard]] std::optional<double> memory_ratio(const CrossingRecord& crossing);
// Seconds of processors that the subjects of Quantity::Cpu ("ferryd", a container) used on a
// platform during a crossing; nullopt without samples in it.
[[nodiscard]] std::optional<double> cpu_seconds(const RunRecord& run,
                                                const CrossingRecord& crossing, int platform,
                                                const std::vector<std::string>& subjects);
// When each round of a crossing ended, on the run's clock.
[[nodiscard]] std::vector<std::int64_t> round_ends(const CrossingRecord& crossing);
// The worst that any client saw, in the whole run and in each crossing's window.
[[nodiscard]] std::optional<double> longest_pause(const RunRecord& run);

// The values of a figure in all runs that have it.
[[nodiscard]] std::vector<double> over_runs(
    const Runs& runs, const std::function<std::optional<double>(const RunRecord&)>& figure);

}  // namespace ferry::lab
