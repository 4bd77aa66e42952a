#include "lab/report_scenario.h"

#include <fmt/format.h>

#include "lab/markup.h"
#include "lab/record_figures.h"
#include "lab/report_plots.h"
#include "lab/report_tables.h"
#include "lab/report_words.h"

namespace ferry::lab {
namespace {

constexpr Method kMethods[] = {Method::Live, Method::Checkpoint};

// The run whose timelines are shown: the one in which a client waited longest, for a reader wants
// to see the worst.
const RunRecord* shown_run(const Runs& runs) {
    const RunRecord* shown = nullptr;
    double longest = -1;
    for (const RunRecord* run : runs) {
        if (run->series.empty()) continue;
        const double pause = longest_pause(*run).value_or(0);
        if (pause > longest) shown = run;
        longest = std::max(longest, pause);
    }
    return shown;
}

std::string timeline_name(const ScenarioText& scenario, Method method, const TimelineKind& kind) {
    return fmt::format("scenario-{}-{}-{}", scenario.scenario, name_of(method), kind.name);
}

std::string rounds_name(const ScenarioText& scenario, const RunRecord& run,
                        const CrossingRecord& crossing) {
    return fmt::format("scenario-{}-{}-run-{}-rounds-{}", scenario.scenario, name_of(run.method),
                       run.number, crossing.number);
}

std::string figure_html(const Drawings& drawings, const std::string& name,
                        const std::string& caption) {
    const auto found = drawings.find(name);
    if (found == drawings.end()) return "";
    return fmt::format(
        "<figure><figcaption><b>{0}</b><span class=\"files\"><a href=\"plots/{1}.svg\">SVG</a> "
        "<a href=\"plots/{1}.png\">PNG</a></span></figcaption><div class=\"scroll\">{2}</div>"
        "</figure>\n",
        escaped(caption), name, found->second);
}

std::string timelines(const LabRecord& record, const ScenarioText& scenario,
                      const Drawings& drawings) {
    std::string figures, notes;
    for (const TimelineKind& kind : timeline_kinds()) {
        for (const Method method : kMethods) {
            figures += figure_html(drawings, timeline_name(scenario, method, kind),
                                   fmt::format("{}, method {}", kind.title, name_of(method)));
        }
    }
    if (figures.empty()) return "";
    for (const Method method : kMethods) {
        const Runs runs = runs_of(record, scenario.scenario, method);
        const RunRecord* run = shown_run(runs);
        if (run == nullptr) continue;
        std::string note = fmt::format("Method {}: run {} of {}, the one with the longest pause.",
                                       name_of(method), run->number, runs.size());
        const std::string marks = marks_legend(*run);
        if (!marks.empty()) note += fmt::format(" {}.", marks);
        notes += paragraph(note, "note");
    }
    return "<h3>Over time</h3>\n" +
           paragraph(
               "Coloured bands are the phases of a crossing, the arrow above them its "
               "direction; under the red strip at the top the service stands still. Where "
               "there are both methods, they have the same axes.",
               "note") +
           notes + "<div class=\"pairs\">\n" + figures + "</div>\n";
}

std::string runs_sentence(const LabRecord& record, const ScenarioText& scenario) {
    std::string text;
    bool several = false;
    for (const Method method : kMethods) {
        const std::size_t runs = runs_of(record, scenario.scenario, method).size();
        if (runs == 0) continue;
        several = several || runs > 1;
        text += fmt::format("{}{} {} by method {}", text.empty() ? "" : ", ", runs,
                            runs == 1 ? "run" : "runs", name_of(method));
    }
    text += ".";
    if (several) {
        text +=
            " Figures are medians with the range below them; counts are sums over the runs, "
            "pauses the longest of all runs.";
    }
    return text;
}

// What the estimates are made of, and beside them what then happened.
std::string outcome(const CrossingRecord& crossing) {
    std::string text =
        "The estimates are computed from the bandwidth and the memory written in the last round "
        "before the decision; no run of the other methods was made, that of a checkpoint in files "
        "included.";
    const PhaseRecord* frozen = find_phase(crossing, PhaseKind::Frozen);
    const PhaseRecord* total = find_phase(crossing, PhaseKind::Total);
    if (frozen == nullptr || total == nullptr) return text;
    text += fmt::format(
        " Measured, of what was then done ({}): the service stood still for {}, {} "
        "in all",
        crossing.method_change->to, duration_text(frozen->milliseconds()),
        duration_text(total->milliseconds()));
    if (crossing.wire_bytes) {
        text +=
            fmt::format(", {} on the wire", bytes_text(static_cast<double>(*crossing.wire_bytes)));
    }
    return text + ".";
}

// The rounds of each crossing by pre-copy, and what the engine decided after them.
std::string rounds_part(const LabRecord& record, const ScenarioText& scenario,
                        const Drawings& drawings) {
    std::string html;
    for (const RunRecord* run : runs_of(record, scenario.scenario, Method::Live)) {
        for (const CrossingRecord& crossing : run->crossings) {
            if (crossing.rounds.empty()) continue;
            html += fmt::format("<h3>Run {}: from platform {} to platform {}</h3>\n", run->number,
                                crossing.from, crossing.to);
            if (crossing.method_change) {
                const MethodChange& change = *crossing.method_change;
                html += paragraph(fmt::format("After round {} Ferry gave up {} for {}: {}.",
                                              change.after_round, change.from, change.to,
                                              change.reason));
            } else if (!crossing.stop_rule.empty()) {
                html += paragraph(
                    fmt::format("The pre-copy ended because of this: {}.", crossing.stop_rule));
            }
            html += figure_html(drawings, rounds_name(scenario, *run, crossing),
                                "Dirty rate against bandwidth");
            html += rounds_table(crossing);
            html += paragraph(
                "A page that is written several times in a round counts once: where nearly all is "
                "written again, the true rate is higher.",
                "note");
            if (crossing.method_change && !crossing.method_change->estimates.empty()) {
                html += estimates_table(*crossing.method_change);
                html += paragraph(outcome(crossing), "note");
            }
        }
    }
    return html;
}

// The first crossing's rounds are enough for an ordinary scenario; there they are folded away.
std::string folded_rounds(const LabRecord& record, const ScenarioText& scenario) {
    std::string html;
    for (const RunRecord* run : runs_of(record, scenario.scenario, Method::Live)) {
        for (const CrossingRecord& crossing : run->crossings) {
            if (crossing.rounds.empty()) continue;
            html += paragraph(fmt::format(
                "Run {}, platform {} to {}. Ended because of this: {}.", run->number, crossing.from,
                crossing.to, crossing.stop_rule.empty() ? "not recorded" : crossing.stop_rule));
            html += rounds_table(crossing);
        }
    }
    if (html.empty()) return "";
    return "<details><summary>Rounds of the pre-copy, each crossing</summary>\n" + html +
           "</details>\n";
}

std::string notes_on_tables(const ScenarioText& scenario) {
    std::string text =
        "Memory is what the control groups of the platform (the host) and of the container on it "
        "are charged, without idle file cache, just before the crossing began and half a second "
        "after it ended; the paper's is before and after each phase. The service's memory, after "
        "over before, adds up the proportional set sizes of its processes at the same moments: a "
        "page that several of them share counts once, and a page of a file that nobody has touched "
        "again does not count yet. ";
    if (scenario.scenario == "2") {
        text +=
            "The notes on the paper give no figures for scenario II, only that it behaved like "
            "I. ";
    }
    text +=
        "Of the paper's Table 1 they give only the direction: fewer files after a checkpoint, "
        "more after a restore. A dash stands where the paper's notes or this run have no "
        "figure. Method live does the checkpoint and the restore inside its pause, with only "
        "the memory written last.";
    return paragraph(text, "note");
}

}  // namespace

std::vector<Plot> scenario_plots(const LabRecord& record, const ScenarioText& scenario) {
    std::vector<Plot> plots;
    for (const TimelineKind& kind : timeline_kinds()) {
        TimelineAxes axes;
        for (const Method method : kMethods) {
            const RunRecord* run = shown_run(runs_of(record, scenario.scenario, method));
            if (run != nullptr) widen(axes, *run, kind);
        }
        for (const Method method : kMethods) {
            const RunRecord* run = shown_run(runs_of(record, scenario.scenario, method));
            if (run == nullptr) continue;
            auto plot = timeline(*run, kind, axes, timeline_name(scenario, method, kind));
            if (plot) plots.push_back(std::move(*plot));
        }
    }
    if (scenario.scenario != "dirty") return plots;
    for (const RunRecord* run : runs_of(record, scenario.scenario, Method::Live)) {
        for (const CrossingRecord& crossing : run->crossings) {
            auto plot = rounds_plot(crossing, rounds_name(scenario, *run, crossing));
            if (plot) plots.push_back(std::move(*plot));
        }
    }
    return plots;
}

std::string scenario_section(const LabRecord& record, const ScenarioText& scenario,
                             const Drawings& drawings) {
    const bool any = !runs_of(record, scenario.scenario, Method::Live).empty() ||
                     !runs_of(record, scenario.scenario, Method::Checkpoint).empty();
    if (!any) return "";
    const bool dirty = scenario.scenario == "dirty";
    std::string html = fmt::format(
        "<section id=\"scenario-{}\">\n<h2>{}: {}</h2>\n", scenario.scenario,
        dirty ? "When pre-copy cannot win" : scenario_name(std::string(scenario.scenario)),
        escaped(scenario.title));
    html += paragraph(runs_sentence(record, scenario), "muted");
    if (dirty) {
        html += rounds_part(record, scenario, drawings);
    } else {
        html += paper_table(record, scenario);
    }
    html += crossings_table(record, scenario);
    if (!dirty) {
        html += cpu_table(record, scenario) + counts_table(record, scenario) +
                notes_on_tables(scenario);
    }
    html += clients_table(record, scenario);
    if (!dirty) html += folded_rounds(record, scenario);
    return html + timelines(record, scenario, drawings) + "</section>\n";
}

}  // namespace ferry::lab
