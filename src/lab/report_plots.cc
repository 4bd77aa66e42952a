#include "lab/report_plots.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace ferry::lab {
namespace {

constexpr double kGap = std::numeric_limits<double>::quiet_NaN();
// A hole in a series that is this much longer than its usual interval is shown as one.
constexpr double kGapIntervals = 10;
// Words above a plot stand at least this far apart, as a share of the axis.
constexpr double kLabelShare = 0.08;
// The parts of a freeze are drawn where they can be told apart.
constexpr double kBandShare = 0.004;
constexpr double kRoomForWords = 1.2;

double seconds_of(std::int64_t ns) {
    return static_cast<double>(ns) / 1e9;
}

bool is_of(const Series& series, const TimelineKind& kind) {
    return std::find(kind.quantities.begin(), kind.quantities.end(), series.quantity) !=
           kind.quantities.end();
}

// A unit that suits the greatest value, and what its values are divided by.
struct Scale {
    std::string unit;
    double divisor = 1;
};

Scale scale_for(Quantity quantity, double greatest) {
    const std::string unit = unit_of(quantity);
    if (unit == "bytes") return greatest >= 10e9 ? Scale{"GB", 1e9} : Scale{"MB", 1e6};
    if (unit == "bytes/s") return greatest >= 1e6 ? Scale{"MB/s", 1e6} : Scale{"kB/s", 1e3};
    return {unit, 1};
}

double usual_interval(const Series& series) {
    std::vector<std::int64_t> intervals;
    for (std::size_t i = 1; i < series.at_ns.size(); ++i) {
        intervals.push_back(series.at_ns[i] - series.at_ns[i - 1]);
    }
    if (intervals.empty()) return 0;
    const auto middle = intervals.begin() + static_cast<std::ptrdiff_t>(intervals.size() / 2);
    std::nth_element(intervals.begin(), middle, intervals.end());
    return seconds_of(*middle);
}

void add_points(const Series& series, const Scale& scale, bool log_y, Curve& curve) {
    const double longest = kGapIntervals * usual_interval(series);
    for (std::size_t i = 0; i < series.at_ns.size(); ++i) {
        const double at = seconds_of(series.at_ns[i]);
        const double before = i == 0 ? at : seconds_of(series.at_ns[i - 1]);
        if (i > 0 && at - before > longest) {
            curve.x.push_back(before);
            curve.y.push_back(kGap);
        }
        curve.x.push_back(at);
        // A logarithm has no place for zero.
        const double value = series.values[i] / scale.divisor;
        curve.y.push_back(log_y && value <= 0 ? kGap : value);
    }
}

// Of more points than pixels the lowest and the highest of each stretch are kept, in their order: a
// peak must not get lost. Gaps stay.
void thin(Curve& curve) {
    constexpr std::size_t kStretches = 700;
    if (curve.x.size() <= 2 * kStretches) return;
    Curve kept;
    const std::size_t length = (curve.x.size() + kStretches - 1) / kStretches;
    for (std::size_t begin = 0; begin < curve.x.size(); begin += length) {
        const std::size_t end = std::min(begin + length, curve.x.size());
        std::size_t lowest = begin, highest = begin;
        std::optional<std::size_t> gap;
        for (std::size_t i = begin; i < end; ++i) {
            if (std::isnan(curve.y[i])) {
                gap = i;
                continue;
            }
            // A comparison with no number is false: whatever is one takes its place.
            if (!(curve.y[i] >= curve.y[lowest])) lowest = i;
            if (!(curve.y[i] <= curve.y[highest])) highest = i;
        }
        std::set<std::size_t> chosen = {lowest, highest};
        if (gap) chosen.insert(*gap);
        for (const std::size_t i : chosen) {
            kept.x.push_back(curve.x[i]);
            kept.y.push_back(curve.y[i]);
        }
    }
    curve.x = std::move(kept.x);
    curve.y = std::move(kept.y);
}

std::string curve_title(const Series& series, const TimelineKind& kind) {
    std::string title = series.subject;
    // Where the plot has several quantities, the subject alone may not tell which this is.
    const bool memory =
        series.quantity == Quantity::HostMemory || series.quantity == Quantity::ContainerMemory;
    if (kind.quantities.size() > 1 && !memory) {
        title = std::string(name_of(series.quantity)) + (title.empty() ? "" : ", " + title);
    }
    if (series.platform != 0) title += fmt::format(", platform {}", series.platform);
    return title;
}

// Colours by platform, dashes by what it is; curves of no platform get colours of their own.
class Inks {
  public:
    void give(const Series& series, Curve& curve) {
        if (series.platform == 0) {
            constexpr Ink kFree[] = {Ink::First, Ink::Second, Ink::Third, Ink::Fourth};
            curve.ink = kFree[free_ % std::size(kFree)];
            curve.dash = static_cast<int>(free_ / std::size(kFree));
            ++free_;
            return;
        }
        curve.ink = series.platform == 1 ? Ink::Platform1 : Ink::Platform2;
        const auto key = std::pair(series.quantity, series.subject);
        const auto [found, fresh] = dashes_.try_emplace(key, static_cast<int>(dashes_.size()));
        curve.dash = found->second;
    }

  private:
    std::size_t free_ = 0;
    std::map<std::pair<Quantity, std::string>, int> dashes_;
};

void add_bands(const RunRecord& run, Plot& plot) {
    constexpr std::pair<PhaseKind, Ink> kDrawn[] = {{PhaseKind::PreCopy, Ink::PreCopy},
                                                    {PhaseKind::Checkpoint, Ink::Checkpoint},
                                                    {PhaseKind::Transfer, Ink::Transfer},
                                                    {PhaseKind::Restore, Ink::Restore},
                                                    {PhaseKind::Frozen, Ink::Frozen}};
    // Later bands lie over earlier ones; the key has the order of the phases.
    for (const auto& [kind, ink] : kDrawn) {
        for (const CrossingRecord& crossing : run.crossings) {
            for (const PhaseRecord& phase : crossing.phases) {
                const double share = phase.milliseconds() / 1000 / plot.x_to;
                const bool always = kind == PhaseKind::Frozen || kind == PhaseKind::PreCopy;
                if (phase.kind != kind || (!always && share < kBandShare)) continue;
                plot.bands.push_back(
                    {seconds_of(phase.begin_ns), seconds_of(phase.end_ns), ink, name_of(kind)});
            }
        }
    }
}

void add_directions(const RunRecord& run, Plot& plot) {
    double last = -std::numeric_limits<double>::infinity();
    for (const CrossingRecord& crossing : run.crossings) {
        const PhaseRecord* total = nullptr;
        for (const PhaseRecord& phase : crossing.phases) {
            const bool longer = total == nullptr || phase.milliseconds() > total->milliseconds();
            if (longer) total = &phase;
        }
        if (total == nullptr) continue;
        const double middle = seconds_of(total->begin_ns + (total->end_ns - total->begin_ns) / 2);
        if (middle - last < kLabelShare * plot.x_to) continue;
        plot.top_labels.push_back(
            {middle, fmt::format("{} \u2192 {}", crossing.from, crossing.to)});
        last = middle;
    }
}

// The marks of a run and, among them, its changes of method.
std::vector<Mark> all_marks(const RunRecord& run) {
    std::vector<Mark> marks = run.marks;
    for (const CrossingRecord& crossing : run.crossings) {
        if (!crossing.method_change) continue;
        const MethodChange& change = *crossing.method_change;
        marks.push_back({change.at_ns, fmt::format("{} gave way to {}", change.from, change.to)});
    }
    std::stable_sort(marks.begin(), marks.end(),
                     [](const Mark& a, const Mark& b) { return a.at_ns < b.at_ns; });
    return marks;
}

// "a", "b", ..., "z", "27", ...
std::string letter(std::size_t index) {
    if (index < 26) return std::string(1, static_cast<char>('a' + index));
    return fmt::format("{}", index + 1);
}

}  // namespace

const std::vector<TimelineKind>& timeline_kinds() {
    using enum Quantity;
    static const std::vector<TimelineKind> kinds = {
        {"memory", "Memory", "memory", {HostMemory, ContainerMemory}},
        {"cpu", "CPU", "busy", {Cpu}},
        {"link", "Network: what each platform sends", "sent", {SendRate}},
        {"throughput", "Throughput at the client", "throughput", {Throughput}},
        {"requests", "Requests at the client", "rate", {Requests, FailedRequests}},
        {"delay", "Delay of requests at the client", "delay", {Delay}, true},
        {"probe", "Delay and jitter of the UDP echo", "delay", {ProbeDelay, Jitter}, true},
        {"losses", "Lost and sent again", "rate", {Retransmissions, ProbesLost}},
        {"objects",
         "Open files, sockets and mappings of the service",
         "number",
         {OpenFiles, Sockets, Mappings},
         true},
    };
    return kinds;
}

void widen(TimelineAxes& axes, const RunRecord& run, const TimelineKind& kind) {
    axes.seconds = std::max(axes.seconds, seconds_of(run.duration_ns));
    for (const Series& series : run.series) {
        if (series.at_ns.empty()) continue;
        axes.seconds = std::max(axes.seconds, seconds_of(series.at_ns.back()));
        if (!is_of(series, kind)) continue;
        axes.greatest =
            std::max(axes.greatest, *std::max_element(series.values.begin(), series.values.end()));
    }
}

std::optional<Plot> timeline(const RunRecord& run, const TimelineKind& kind,
                             const TimelineAxes& axes, std::string name) {
    Plot plot;
    plot.name = std::move(name);
    plot.title = fmt::format("{} over the time of the run", kind.title);
    plot.x_to = axes.seconds;
    plot.log_y = kind.log_y;
    plot.x_label = "time (s)";
    const Scale scale = scale_for(kind.quantities.front(), axes.greatest);
    plot.y_to = axes.greatest / scale.divisor;
    std::set<std::string> units;
    Inks inks;
    for (const Series& series : run.series) {
        if (!is_of(series, kind) || series.at_ns.empty()) continue;
        Curve curve;
        curve.title = curve_title(series, kind);
        inks.give(series, curve);
        add_points(series, scale, kind.log_y, curve);
        thin(curve);
        units.insert(scale.divisor == 1 ? std::string(unit_of(series.quantity)) : scale.unit);
        plot.curves.push_back(std::move(curve));
    }
    if (plot.curves.empty()) return std::nullopt;
    // Numbers of several kinds of things need no unit.
    std::string unit;
    if (units.size() == 1) unit = " (" + *units.begin() + ")";
    const bool rates = std::all_of(units.begin(), units.end(),
                                   [](const std::string& each) { return each.ends_with("/s"); });
    if (units.size() > 1 && rates) unit = " (per second)";
    plot.y_label = std::string(kind.axis) + unit;
    add_bands(run, plot);
    add_directions(run, plot);
    std::size_t index = 0;
    for (const Mark& mark : all_marks(run)) {
        plot.marks.push_back({seconds_of(mark.at_ns), letter(index++)});
    }
    return plot;
}

std::string marks_legend(const RunRecord& run) {
    std::string text;
    std::size_t index = 0;
    for (const Mark& mark : all_marks(run)) {
        text += fmt::format("{}{}: {} (at {:.1f} s)", text.empty() ? "" : "; ", letter(index++),
                            mark.text, seconds_of(mark.at_ns));
    }
    return text;
}

std::optional<double> dirty_rate_of(const RoundRecord& round) {
    if (round.dirty_rate) return round.dirty_rate;
    if (!round.dirty_bytes || round.milliseconds <= 0) return std::nullopt;
    return static_cast<double>(*round.dirty_bytes) * 1000 / round.milliseconds;
}

std::optional<double> bandwidth_of(const RoundRecord& round) {
    if (round.bandwidth) return round.bandwidth;
    if (round.milliseconds <= 0) return std::nullopt;
    return static_cast<double>(round.bytes) * 1000 / round.milliseconds;
}

std::optional<Plot> rounds_plot(const CrossingRecord& crossing, std::string name) {
    Curve dirty{"memory written, per second", Ink::Second, 1, {}, {}};
    Curve sent{"memory sent, per second", Ink::First, 0, {}, {}};
    Plot plot;
    plot.name = std::move(name);
    plot.title = "Dirty rate against bandwidth over the rounds of the pre-copy";
    plot.x_label = "time since the start of the crossing (s)";
    plot.y_label = "MB/s";
    const auto add = [](Curve& curve, double from, double to, std::optional<double> rate) {
        curve.x.insert(curve.x.end(), {from, to});
        const double value = rate ? *rate / 1e6 : kGap;
        curve.y.insert(curve.y.end(), {value, value});
    };
    double at = 0;
    for (const RoundRecord& round : crossing.rounds) {
        const double end = at + round.milliseconds / 1000;
        add(dirty, at, end, dirty_rate_of(round));
        add(sent, at, end, bandwidth_of(round));
        if (round.in_freeze) plot.bands.push_back({at, end, Ink::Frozen, "frozen"});
        const auto& change = crossing.method_change;
        if (change && change->after_round == round.number) {
            // "slowed down by 40 % from here": the whole of it may be too long for a plot.
            const std::size_t slowed = change->to.find("slowed");
            const std::string to =
                slowed != std::string::npos ? change->to.substr(slowed) : change->to;
            plot.marks.push_back({end, to + " from here"});
        }
        at = end;
    }
    if (at <= 0) return std::nullopt;
    plot.x_to = at;
    // Room above the curves, for the words of the mark.
    for (const Curve* curve : {&dirty, &sent}) {
        for (const double rate : curve->y) plot.y_to = std::fmax(plot.y_to, kRoomForWords * rate);
    }
    plot.curves = {std::move(dirty), std::move(sent)};
    return plot;
}

}  // namespace ferry::lab
