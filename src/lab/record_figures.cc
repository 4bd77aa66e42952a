#include "lab/record_figures.h"

#include <algorithm>

namespace ferry::lab {

Runs runs_of(const LabRecord& record, std::string_view scenario, Method method) {
    Runs runs;
    for (const RunRecord& run : record.runs) {
        if (run.scenario == scenario && run.method == method) runs.push_back(&run);
    }
    return runs;
}

std::optional<Spread> spread(std::vector<double> values) {
    if (values.empty()) return std::nullopt;
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    const bool odd = values.size() % 2 == 1;
    const double median = odd ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    return Spread{median, values.front(), values.back(), values.size()};
}

std::optional<PhaseFigure> phase_figure(const RunRecord& run, PhaseKind kind, int platform) {
    std::vector<const PhaseRecord*> phases;
    for (const CrossingRecord& crossing : run.crossings) {
        if (!crossing.succeeded) continue;
        for (const PhaseRecord& phase : crossing.phases) {
            if (phase.kind == kind && phase.platform == platform) phases.push_back(&phase);
        }
    }
    if (phases.empty()) return std::nullopt;
    std::ranges::sort(phases, {}, &PhaseRecord::begin_ns);
    PhaseFigure figure;
    const PhaseRecord* last = phases.front();
    std::int64_t counted = last->begin_ns;
    for (const PhaseRecord* phase : phases) {
        const std::int64_t begin = std::max(phase->begin_ns, counted);
        if (phase->end_ns > begin)
            figure.milliseconds += static_cast<double>(phase->end_ns - begin) / 1e6;
        counted = std::max(counted, phase->end_ns);
        if (phase->end_ns > last->end_ns) last = phase;
    }
    figure.memory_before = phases.front()->memory_before;
    figure.memory_after = last->memory_after;
    return figure;
}

const PhaseRecord* find_phase(const CrossingRecord& crossing, PhaseKind kind) {
    const auto found = std::find_if(crossing.phases.begin(), crossing.phases.end(),
                                    [&](const PhaseRecord& phase) { return phase.kind == kind; });
    return found == crossing.phases.end() ? nullptr : &*found;
}

std::optional<double> memory_ratio(const CrossingRecord& crossing) {
    const auto before = crossing.service_memory_before, after = crossing.service_memory_after;
    if (!crossing.succeeded || !before || !after || *before == 0) return std::nullopt;
    return static_cast<double>(*after) / static_cast<double>(*before);
}

std::optional<double> cpu_seconds(const RunRecord& run, const CrossingRecord& crossing,
                                  int platform, const std::vector<std::string>& subjects) {
    const PhaseRecord* total = find_phase(crossing, PhaseKind::Total);
    if (total == nullptr) return std::nullopt;
    std::optional<double> seconds;
    for (const Series& series : run.series) {
        const bool wanted = std::ranges::find(subjects, series.subject) != subjects.end();
        if (series.quantity != Quantity::Cpu || series.platform != platform || !wanted) continue;
        // A sample is the rate since the one before it.
        for (std::size_t i = 1; i < series.at_ns.size(); ++i) {
            const std::int64_t from = std::max(series.at_ns[i - 1], total->begin_ns);
            const std::int64_t to = std::min(series.at_ns[i], total->end_ns);
            if (to <= from) continue;
            seconds = seconds.value_or(0) + series.values[i] * static_cast<double>(to - from) / 1e9;
        }
    }
    return seconds;
}

std::vector<std::int64_t> round_ends(const CrossingRecord& crossing) {
    const PhaseRecord* total = find_phase(crossing, PhaseKind::Total);
    std::int64_t at = total != nullptr ? total->begin_ns : 0;
    std::vector<std::int64_t> ends;
    for (const RoundRecord& round : crossing.rounds) {
        at += static_cast<std::int64_t>(round.milliseconds * 1e6);
        ends.push_back(at);
    }
    return ends;
}

std::optional<double> longest_pause(const RunRecord& run) {
    std::optional<double> longest;
    const auto consider = [&](const std::optional<ClientRecord>& clients) {
        if (!clients || !clients->longest_pause_ms) return;
        longest = std::max(longest.value_or(0), *clients->longest_pause_ms);
    };
    consider(run.clients);
    for (const CrossingRecord& crossing : run.crossings) consider(crossing.clients);
    return longest;
}

std::vector<double> over_runs(
    const Runs& runs, const std::function<std::optional<double>(const RunRecord&)>& figure) {
    std::vector<double> values;
    for (const RunRecord* run : runs) {
        if (const auto value = figure(*run)) values.push_back(*value);
    }
    return values;
}

}  // namespace ferry::lab
