#include "lab/report_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>

#include "lab/markup.h"
#include "lab/record_figures.h"
#include "lab/report_plots.h"

namespace ferry::lab {
namespace {

constexpr const char* kNotMeasured = "not measured";
constexpr const char* kNotInNotes = "the notes on the paper give no figure";
using Format = std::string (*)(double);
using Way = std::pair<int, int>;  // from, to

std::string title_of(Method method) {
    return fmt::format("Method {}", name_of(method));
}

// Those by which there are runs.
std::vector<Method> methods_of(const LabRecord& record, const ScenarioText& scenario) {
    std::vector<Method> methods;
    for (const Method method : {Method::Live, Method::Checkpoint}) {
        if (!runs_of(record, scenario.scenario, method).empty()) methods.push_back(method);
    }
    return methods;
}

// The median, and below it the range where there is one.
Cell spread_cell(const std::optional<Spread>& values, Format format) {
    if (!values) return dash_cell(kNotMeasured);
    Cell cell = number_cell(format(values->median));
    const std::string least = format(values->least), greatest = format(values->greatest);
    if (least != greatest) {
        cell.html += fmt::format("<br><span class=\"note\">{} to {}</span>", escaped(least),
                                 escaped(greatest));
    }
    return cell;
}

std::string gigabytes_number(double bytes) {
    const std::string text = gigabytes_text(bytes);
    return text.substr(0, text.find(' '));
}

Cell memory_cell(const std::optional<Spread>& before, const std::optional<Spread>& after) {
    if (!before && !after) return dash_cell(kNotMeasured);
    const auto number = [](const std::optional<Spread>& value) {
        return value ? gigabytes_number(value->median) : std::string("\u2013");
    };
    return number_cell(fmt::format("{} \u2192 {}", number(before), number(after)));
}

void add_phase_cells(const Runs& runs, PhaseKind phase, int platform, std::vector<Cell>& row) {
    const auto of = [&](auto&& member) {
        return spread(over_runs(runs, [&](const RunRecord& run) -> std::optional<double> {
            const auto figure = phase_figure(run, phase, platform);
            return figure ? member(*figure) : std::nullopt;
        }));
    };
    const auto as_double = [](const std::optional<std::uint64_t>& bytes) {
        return bytes ? std::optional<double>(static_cast<double>(*bytes)) : std::nullopt;
    };
    for (const auto whose : {&MemoryRecord::host, &MemoryRecord::container}) {
        row.push_back(memory_cell(
            of([&](const PhaseFigure& figure) { return as_double(figure.memory_before.*whose); }),
            of([&](const PhaseFigure& figure) { return as_double(figure.memory_after.*whose); })));
    }
    row.push_back(spread_cell(
        of([](const PhaseFigure& figure) { return std::optional(figure.milliseconds); }),
        duration_text));
}

void add_paper_cells(const PaperFigure* figure, std::vector<Cell>& row) {
    if (figure == nullptr) {
        row.push_back(dash_cell(kNotInNotes));
        row.push_back(dash_cell(kNotInNotes));
        return;
    }
    row.push_back(number_cell(
        fmt::format("{:.2f} \u2192 {:.2f}", figure->memory_before_gb, figure->memory_after_gb)));
    row.push_back(figure->seconds ? number_cell(fmt::format("{} s", *figure->seconds))
                                  : dash_cell(kNotInNotes));
}

// The directions in which something crossed, in the order of their first time.
std::vector<Way> ways_of(const LabRecord& record, const ScenarioText& scenario) {
    std::vector<Way> ways;
    for (const Method method : {Method::Live, Method::Checkpoint}) {
        for (const RunRecord* run : runs_of(record, scenario.scenario, method)) {
            for (const CrossingRecord& crossing : run->crossings) {
                const Way way(crossing.from, crossing.to);
                if (std::find(ways.begin(), ways.end(), way) == ways.end()) ways.push_back(way);
            }
        }
    }
    return ways;
}

std::string way_text(const Way& way) {
    // With blanks at which no line breaks.
    return fmt::format("{}\u00a0\u2192\u00a0{}", way.first, way.second);
}

std::optional<Spread> over_crossings(
    const Runs& runs, const Way& way,
    const std::function<std::optional<double>(const CrossingRecord&)>& figure) {
    std::vector<double> values;
    for (const RunRecord* run : runs) {
        for (const CrossingRecord& crossing : run->crossings) {
            if (!crossing.succeeded || Way(crossing.from, crossing.to) != way) continue;
            if (const auto value = figure(crossing)) values.push_back(*value);
        }
    }
    return spread(std::move(values));
}

std::string seconds_format(double value) {
    return decimal_text(value, 2) + " s";
}

// By the subject of the samples; "": by whatever crossed.
std::optional<Spread> cpu_of(const Runs& runs, const Way& way, int platform,
                             const std::string& subject) {
    std::vector<double> values;
    for (const RunRecord* run : runs) {
        for (const CrossingRecord& crossing : run->crossings) {
            if (!crossing.succeeded || Way(crossing.from, crossing.to) != way) continue;
            const auto subjects =
                subject.empty() ? crossing.containers : std::vector<std::string>{subject};
            if (const auto used = cpu_seconds(*run, crossing, platform, subjects)) {
                values.push_back(*used);
            }
        }
    }
    return spread(std::move(values));
}

// How a figure of several runs becomes one.
enum class Joined { Median, Greatest, Sum };

struct ClientRow {
    const char* label;
    Joined joined;
    std::function<std::optional<double>(const ClientRecord&)> figure;
    Format format;
};

template <class T>
std::function<std::optional<double>(const ClientRecord&)> field(
    std::optional<T> ClientRecord::* member) {
    return [member](const ClientRecord& clients) -> std::optional<double> {
        const std::optional<T>& value = clients.*member;
        if (!value) return std::nullopt;
        return static_cast<double>(*value);
    };
}

std::string count_format(double value) {
    return count_text(static_cast<std::uint64_t>(std::max(value, 0.0)));
}
std::string rate_format(double value) {
    return decimal_text(value, 1) + " /s";
}
std::string throughput_format(double value) {
    return bytes_text(value) + "/s";
}
std::string jitter_format(double value) {
    return value < 1 ? decimal_text(value, 3) + " ms" : duration_text(value);
}
std::string percent_format(double value) {
    return decimal_text(value, 2) + " %";
}
std::string ratio_format(double value) {
    return decimal_text(value, 3);
}

std::optional<double> loss_percent(const ClientRecord& clients) {
    if (!clients.probes_sent || !clients.probes_lost || *clients.probes_sent == 0) {
        return std::nullopt;
    }
    return 100.0 * static_cast<double>(*clients.probes_lost) /
           static_cast<double>(*clients.probes_sent);
}

std::vector<ClientRow> client_rows() {
    using C = ClientRecord;
    return {
        {"requests", Joined::Sum, field(&C::requests), count_format},
        {"failed requests", Joined::Sum, field(&C::failed_requests), count_format},
        {"broken connections", Joined::Sum, field(&C::broken_connections), count_format},
        {"longest pause of any client", Joined::Greatest, field(&C::longest_pause_ms),
         duration_text},
        {"throughput", Joined::Median, field(&C::bytes_per_second), throughput_format},
        {"requests answered per second", Joined::Median, field(&C::requests_per_second),
         rate_format},
        {"delay of a request, median", Joined::Median, field(&C::delay_p50_ms), duration_text},
        {"delay of a request, 99 of 100 below", Joined::Median, field(&C::delay_p99_ms),
         duration_text},
        {"delay of a request, longest", Joined::Greatest, field(&C::delay_max_ms), duration_text},
        {"delay of the UDP echo, median", Joined::Median, field(&C::probe_delay_p50_ms),
         duration_text},
        {"delay of the UDP echo, longest", Joined::Greatest, field(&C::probe_delay_max_ms),
         duration_text},
        {"jitter of the UDP echo at its worst (RFC 3550)", Joined::Median, field(&C::jitter_ms),
         jitter_format},
        {"packets lost, of the UDP echo", Joined::Median, loss_percent, percent_format},
        {"TCP segments sent again", Joined::Sum, field(&C::retransmissions), count_format},
        {"comments acknowledged", Joined::Sum, field(&C::comments_acknowledged), count_format},
        {"comments found exactly once", Joined::Sum, field(&C::comments_found_once), count_format},
        {"comments lost", Joined::Sum, field(&C::comments_lost), count_format},
        {"comments doubled", Joined::Sum, field(&C::comments_doubled), count_format},
    };
}

Cell client_cell(const Runs& runs, const ClientRow& row) {
    const std::vector<double> values =
        over_runs(runs, [&](const RunRecord& run) -> std::optional<double> {
            return run.clients ? row.figure(*run.clients) : std::nullopt;
        });
    const auto found = spread(values);
    if (!found) return dash_cell(kNotMeasured);
    if (row.joined == Joined::Median) return spread_cell(found, row.format);
    double joined = found->greatest;
    if (row.joined == Joined::Sum) {
        joined = 0;
        for (const double value : values) joined += value;
    }
    return number_cell(row.format(joined));
}

// A scenario without some kind of client has no rows for it.
bool is_measured(const LabRecord& record, const ScenarioText& scenario, const ClientRow& row) {
    return std::ranges::any_of(record.runs, [&](const RunRecord& run) {
        return run.scenario == scenario.scenario && run.clients && row.figure(*run.clients);
    });
}

void add_counts(std::optional<CountsRecord>& sum, const std::optional<CountsRecord>& counts) {
    if (!counts) return;
    if (!sum) sum.emplace();
    sum->processes += counts->processes;
    sum->files += counts->files;
    sum->sockets += counts->sockets;
    sum->mappings += counts->mappings;
}

// Of the first run that has them; containers that crossed one by one add up.
PlatformCounts find_counts(const Runs& runs, const Way& way, int platform) {
    PlatformCounts found{.platform = platform, .before = {}, .after = {}};
    for (const RunRecord* run : runs) {
        for (const CrossingRecord& crossing : run->crossings) {
            if (!crossing.succeeded || Way(crossing.from, crossing.to) != way) continue;
            for (const PlatformCounts& counts : crossing.counts) {
                if (counts.platform != platform) continue;
                add_counts(found.before, counts.before);
                add_counts(found.after, counts.after);
            }
        }
        if (found.before || found.after) break;
    }
    return found;
}

void add_counts_cells(const PlatformCounts& counts, std::vector<Cell>& row) {
    for (const auto member :
         {&CountsRecord::files, &CountsRecord::sockets, &CountsRecord::mappings}) {
        if (!counts.before && !counts.after) {
            row.push_back(dash_cell(kNotMeasured));
            continue;
        }
        const auto number = [&](const std::optional<CountsRecord>& at) {
            return at ? count_text((*at).*member) : std::string("\u2013");
        };
        row.push_back(
            number_cell(fmt::format("{} \u2192 {}", number(counts.before), number(counts.after))));
    }
}

Cell centred(const std::string& text, int columns) {
    Cell cell = heading_cell(text, columns);
    cell.css = "c";
    return cell;
}

Cell number_heading(const std::string& text) {
    Cell cell = heading_cell(text);
    cell.css = "n";
    return cell;
}

}  // namespace

std::string paper_table(const LabRecord& record, const ScenarioText& scenario) {
    Table table{"Memory and time, beside the paper's"};
    table.head = {
        {heading_cell("Platform", 1, 2), heading_cell("Phase", 1, 2), centred("The paper", 2)}, {}};
    const std::vector<Method> methods = methods_of(record, scenario);
    for (const Method method : methods) table.head[0].push_back(centred(title_of(method), 3));
    for (std::size_t i = 0; i < methods.size() + 1; ++i) {
        table.head[1].push_back(number_heading("host (GB)"));
        if (i > 0) table.head[1].push_back(number_heading("container (GB)"));
        table.head[1].push_back(number_heading("time"));
    }
    std::set<std::pair<int, PhaseKind>> told;
    const auto add = [&](int platform, PhaseKind phase) {
        if (!told.emplace(platform, phase).second) return;
        std::vector<Cell> row = {text_cell(fmt::format("{}", platform)), text_cell(name_of(phase))};
        add_paper_cells(paper_figure(scenario.scenario, platform, phase), row);
        for (const Method method : methods) {
            add_phase_cells(runs_of(record, scenario.scenario, method), phase, platform, row);
        }
        table.body.push_back(std::move(row));
    };
    // The paper's order, then what only we have (scenario II).
    for (const PaperFigure& figure : paper_figures()) {
        if (figure.scenario == scenario.scenario) add(figure.platform, figure.phase);
    }
    for (const auto& [from, to] : ways_of(record, scenario)) {
        add(from, PhaseKind::Checkpoint);
        add(to, PhaseKind::Restore);
    }
    return table_html(table);
}

std::string crossings_table(const LabRecord& record, const ScenarioText& scenario) {
    constexpr PhaseKind kPhases[] = {PhaseKind::PreCopy, PhaseKind::Checkpoint, PhaseKind::Transfer,
                                     PhaseKind::Restore, PhaseKind::Frozen,     PhaseKind::Total};
    Table table{"What a crossing took"};
    table.head.emplace_back(std::vector<Cell>{heading_cell("Way"), heading_cell("Method")});
    for (const PhaseKind phase : kPhases) table.head[0].push_back(number_heading(name_of(phase)));
    table.head[0].push_back(number_heading("longest pause of a client"));
    table.head[0].push_back(number_heading("on the wire"));
    table.head[0].push_back(number_heading("service memory, after / before"));
    for (const Way& way : ways_of(record, scenario)) {
        for (const Method method : methods_of(record, scenario)) {
            const Runs runs = runs_of(record, scenario.scenario, method);
            std::vector<Cell> row = {text_cell(way_text(way)), text_cell(name_of(method))};
            for (const PhaseKind kind : kPhases) {
                const auto times = over_crossings(
                    runs, way, [&](const CrossingRecord& crossing) -> std::optional<double> {
                        const PhaseRecord* phase = find_phase(crossing, kind);
                        if (phase == nullptr) return std::nullopt;
                        return phase->milliseconds();
                    });
                row.push_back(spread_cell(times, duration_text));
            }
            const auto pause = over_crossings(
                runs, way, [](const CrossingRecord& crossing) -> std::optional<double> {
                    return crossing.clients ? crossing.clients->longest_pause_ms : std::nullopt;
                });
            row.push_back(spread_cell(pause, duration_text));
            const auto wire = over_crossings(
                runs, way, [](const CrossingRecord& crossing) -> std::optional<double> {
                    if (!crossing.wire_bytes) return std::nullopt;
                    return static_cast<double>(*crossing.wire_bytes);
                });
            row.push_back(spread_cell(wire, bytes_text));
            row.push_back(spread_cell(over_crossings(runs, way, memory_ratio), ratio_format));
            table.body.push_back(std::move(row));
        }
    }
    return table_html(table);
}

std::string cpu_table(const LabRecord& record, const ScenarioText& scenario) {
    Table table{"Processors during a crossing, seconds used"};
    table.head = {{heading_cell("Way", 1, 2), heading_cell("Platform", 1, 2)}, {}};
    const std::vector<Method> methods = methods_of(record, scenario);
    for (const Method method : methods) {
        table.head[0].push_back(centred(title_of(method), 3));
        for (const char* whose : {"service", "Ferry", "platform in all"}) {
            table.head[1].push_back(number_heading(whose));
        }
    }
    for (const Way& way : ways_of(record, scenario)) {
        for (const int platform : {way.first, way.second}) {
            std::vector<Cell> row = {text_cell(way_text(way)),
                                     text_cell(fmt::format("{}", platform))};
            for (const Method method : methods) {
                const Runs runs = runs_of(record, scenario.scenario, method);
                for (const char* whose : {"", "ferryd", "host"}) {
                    row.push_back(spread_cell(cpu_of(runs, way, platform, whose), seconds_format));
                }
            }
            table.body.push_back(std::move(row));
        }
    }
    return table_html(table);
}

std::string clients_table(const LabRecord& record, const ScenarioText& scenario) {
    Table table{"What the clients saw, over the whole run"};
    table.head.emplace_back(std::vector<Cell>{heading_cell("Figure")});
    const std::vector<Method> methods = methods_of(record, scenario);
    for (const Method method : methods) table.head[0].push_back(number_heading(title_of(method)));
    for (const ClientRow& row : client_rows()) {
        if (!is_measured(record, scenario, row)) continue;
        std::vector<Cell> cells = {text_cell(row.label)};
        for (const Method method : methods) {
            cells.push_back(client_cell(runs_of(record, scenario.scenario, method), row));
        }
        table.body.push_back(std::move(cells));
    }
    return table_html(table);
}

std::string counts_table(const LabRecord& record, const ScenarioText& scenario) {
    Table table{"Open files (sockets among them) and mappings of the service: the paper's Table 1"};
    table.head = {{heading_cell("Crossing", 1, 2), heading_cell("Platform", 1, 2),
                   heading_cell("The paper", 1, 2)},
                  {}};
    const std::vector<Method> methods = methods_of(record, scenario);
    for (const Method method : methods) {
        table.head[0].push_back(centred(title_of(method), 3));
        for (const char* what : {"files", "sockets", "mappings"}) {
            table.head[1].push_back(number_heading(what));
        }
    }
    for (const Way& way : ways_of(record, scenario)) {
        for (const int platform : {way.first, way.second}) {
            std::vector<Cell> row = {text_cell(way_text(way)),
                                     text_cell(fmt::format("{}", platform)),
                                     text_cell(platform == way.first ? "fewer" : "more")};
            for (const Method method : methods) {
                const Runs runs = runs_of(record, scenario.scenario, method);
                add_counts_cells(find_counts(runs, way, platform), row);
            }
            table.body.push_back(std::move(row));
        }
    }
    return table_html(table);
}

std::string rounds_table(const CrossingRecord& crossing) {
    Table table{"Rounds of the pre-copy"};
    table.head.emplace_back();
    for (const char* what :
         {"round", "pages", "sent", "time", "bandwidth", "written again", "dirty rate, at least",
          "dirty rate / bandwidth", "stop-and-copy then", "slowed down"}) {
        table.head[0].push_back(number_heading(what));
    }
    const auto rate = [](std::optional<double> value) {
        return value ? number_cell(throughput_format(*value)) : dash_cell(kNotMeasured);
    };
    for (const RoundRecord& round : crossing.rounds) {
        const auto dirty = dirty_rate_of(round), bandwidth = bandwidth_of(round);
        const bool comparable = dirty && bandwidth && *bandwidth > 0;
        const char* unmeasured =
            round.in_freeze ? "nothing is written in the freeze" : "nobody looked after this pass";
        table.body.push_back(
            {number_cell(round.in_freeze ? fmt::format("{}, in the freeze", round.number)
                                         : fmt::format("{}", round.number)),
             number_cell(count_text(round.pages)),
             number_cell(bytes_text(static_cast<double>(round.bytes))),
             number_cell(duration_text(round.milliseconds)), rate(bandwidth),
             round.dirty_bytes ? number_cell(bytes_text(static_cast<double>(*round.dirty_bytes)))
                               : dash_cell(unmeasured),
             dirty ? rate(dirty) : dash_cell(unmeasured),
             comparable ? number_cell(decimal_text(*dirty / *bandwidth, 2))
                        : dash_cell("no two rates to compare"),
             round.expected_frozen_ms ? number_cell(duration_text(*round.expected_frozen_ms))
                                      : dash_cell("no estimate"),
             round.throttle ? number_cell(fmt::format("{:.0f} %", 100 * *round.throttle))
                            : dash_cell(round.in_freeze ? "stands still" : kNotMeasured)});
    }
    return table_html(table);
}

std::string estimates_table(const MethodChange& change) {
    Table table{"What each method would have cost from there on: computed, not measured"};
    table.head.emplace_back(std::vector<Cell>{
        heading_cell("Method"), number_heading("the service stands still"), number_heading("total"),
        number_heading("on the wire"), heading_cell("")});
    const auto time = [](std::optional<double> value) {
        return value ? number_cell(duration_text(*value)) : dash_cell("no estimate");
    };
    for (const MethodEstimate& estimate : change.estimates) {
        table.body.push_back(
            {text_cell(estimate.method), time(estimate.frozen_ms), time(estimate.total_ms),
             estimate.wire_bytes
                 ? number_cell(bytes_text(static_cast<double>(*estimate.wire_bytes)))
                 : dash_cell("no estimate"),
             text_cell(estimate.remark)});
    }
    return table_html(table);
}

}  // namespace ferry::lab
