#include "lab/report.h"

#include <fmt/format.h>

#include "lab/markup.h"
#include "lab/paper.h"
#include "lab/record_figures.h"
#include "lab/report_file.h"
#include "lab/report_plots.h"
#include "lab/report_scenario.h"
#include "lab/report_style.h"
#include "lab/report_words.h"
#include "lab/verdict.h"

namespace ferry::lab {
namespace {

struct Badge {
    const char* css;
    const char* words;
};

Badge badge_of(Standing standing) {
    switch (standing) {
        case Standing::Aimed:
            return {"good", "\u2713 as aimed"};
        case Standing::Reached:
            return {"fine", "\u2713 reached"};
        case Standing::Missed:
            return {"bad", "\u2717 missed"};
        case Standing::NotMeasured:
            break;
    }
    return {"none", "not measured"};
}

// What stands over everything: the worst of the verdicts.
const char* banner_css(const std::vector<Verdict>& verdicts, bool failed) {
    bool missed = failed, incomplete = false;
    for (const Verdict& verdict : verdicts) {
        missed = missed || verdict.standing == Standing::Missed;
        incomplete = incomplete || verdict.standing == Standing::NotMeasured;
    }
    if (missed) return "bad";
    return incomplete ? "none" : "good";
}

Cell short_cell(const std::string& text) {
    Cell cell = text_cell(text);
    cell.css = "w";
    return cell;
}

std::string verdict_table(const std::vector<Verdict>& verdicts) {
    Table table;
    table.css = "wide";
    table.head.emplace_back(std::vector<Cell>{heading_cell("Figure"), heading_cell("measured"),
                                              heading_cell(""), heading_cell("reach at least"),
                                              heading_cell("aim"), heading_cell("the paper")});
    for (const Verdict& verdict : verdicts) {
        const Badge badge = badge_of(verdict.standing);
        Cell measured =
            verdict.measured.empty() ? dash_cell("not measured") : text_cell(verdict.measured);
        measured.kind = Cell::Kind::Text;
        Cell standing{fmt::format("<span class=\"badge {}\">{}</span>", badge.css, badge.words)};
        Cell paper = verdict.paper.empty() ? dash_cell("the paper has no such figure")
                                           : text_cell(verdict.paper);
        paper.kind = Cell::Kind::Text;
        table.body.push_back({text_cell(verdict.figure), std::move(measured), std::move(standing),
                              text_cell(verdict.reach), short_cell(verdict.aim), std::move(paper)});
    }
    return table_html(table);
}

std::string list(const std::vector<std::string>& sentences) {
    if (sentences.empty()) return "";
    std::string html = "<ul>\n";
    for (const std::string& sentence : sentences) html += "<li>" + escaped(sentence) + "</li>\n";
    return html + "</ul>\n";
}

std::string opening(const LabRecord& record) {
    const std::vector<Verdict> verdicts = judge(record);
    const std::vector<std::string> failed = failures(record);
    std::string html = "<section id=\"what\">\n<h2>What happened</h2>\n";
    html += paragraph(story(record)) + list(findings(record));
    std::string banner = summary(verdicts);
    if (!failed.empty()) {
        banner +=
            fmt::format(" {} failed:",
                        failed.size() == 1 ? "One thing" : fmt::format("{} things", failed.size()));
    }
    html += paragraph(banner, fmt::format("banner {}", banner_css(verdicts, !failed.empty())));
    html += list(failed) + verdict_table(verdicts);
    html += paragraph(
        "Figures are of method live unless they name the method checkpoint. Pauses and memory are "
        "the worst of all runs, checkpoint and restore the medians. The memory of the service is "
        "the sum of the proportional set sizes of its processes. The times of runc with CRIU "
        "4.2 "
        "were measured before, on such a machine, and are not of this run.",
        "note");
    return html + "</section>\n";
}

std::string pair(const char* name, const std::string& value) {
    if (value.empty()) return "";
    return fmt::format("<dt>{}</dt><dd>{}</dd>\n", name, escaped(value));
}

std::string platform_text(const PlatformRecord& platform) {
    std::string text = platform.name;
    if (platform.cpus) text += fmt::format(", {:.3g} processors", *platform.cpus);
    if (platform.memory) {
        text +=
            fmt::format(", {} of memory", gigabytes_text(static_cast<double>(*platform.memory)));
    }
    return text;
}

std::string machine_section(const LabRecord& record) {
    const MachineRecord& machine = record.machine;
    const SettingsRecord& settings = record.settings;
    std::string html = "<section id=\"machine\">\n<h2>Machine, versions, settings</h2>\n<dl>\n";
    html += pair("date", machine.date) + pair("kernel", machine.kernel) + pair("CPU", machine.cpu);
    if (machine.cpus > 0) html += pair("processors", fmt::format("{}", machine.cpus));
    if (machine.memory > 0) {
        html += pair("memory", gigabytes_text(static_cast<double>(machine.memory)));
    }
    for (const ProgramVersion& program : machine.versions) {
        html += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escaped(program.program),
                            escaped(program.version));
    }
    html += pair("service", settings.service);
    for (const PlatformRecord& platform : settings.platforms) {
        html += pair(fmt::format("platform {}", platform.number).c_str(), platform_text(platform));
    }
    const auto rate = [&](const char* name, const std::optional<double>& value, const char* unit,
                          double divisor) {
        if (value) html += pair(name, fmt::format("{:.4g} {}", *value / divisor, unit));
    };
    rate("link between the platforms", settings.link_bits_per_second, "Gbit/s", 1e9);
    rate("delay of the link", settings.link_delay_ms, "ms", 1);
    rate("HTTP requests", settings.requests_per_second, "per second", 1);
    rate("UDP probes", settings.probes_per_second, "per second", 1);
    rate("sampled every", settings.sample_interval_ms, "ms", 1);
    html += pair("storage", settings.shared_storage ? "shared by both platforms"
                                                    : "each platform has its own");
    if (!settings.command_line.empty()) {
        html += "<dt>command</dt><dd><code>" + escaped(settings.command_line) + "</code></dd>\n";
    }
    return html + "</dl>\n</section>\n";
}

std::string files_section() {
    return "<section id=\"files\">\n<h2>Files</h2>\n<ul>\n"
           "<li><a href=\"record.json\">record.json</a>: everything that was measured; "
           "<code>ferry lab report record.json</code> makes this report again</li>\n"
           "<li><a href=\"samples.csv\">samples.csv</a>: every sample, one a line, and the figures "
           "of every round</li>\n"
           "<li><a href=\"plots/\">plots/</a>: each plot as SVG and PNG</li>\n</ul>\n" +
           paragraph(
               "The paper: A. Widjajarto, D. W. Jacob, M. Lubis, \"Live migration using checkpoint "
               "and restore in userspace (CRIU): usage analysis of network, memory and CPU\", "
               "Bulletin of Electrical Engineering and Informatics 10(2), 2021, pp. 837-847; its "
               "figures as a reader's notes give them. It ran Magento on two hosts of its own, so "
               "its memory and times compare in kind, not machine for machine. GB and MB are "
               "powers "
               "of 1000.",
               "note") +
           "</section>\n";
}

std::string navigation(const std::vector<const ScenarioText*>& scenarios) {
    std::string html = "<nav><a href=\"#what\">What happened</a>";
    for (const ScenarioText* scenario : scenarios) {
        html += fmt::format("<a href=\"#scenario-{}\">{}</a>", scenario->scenario,
                            scenario_name(std::string(scenario->scenario)));
    }
    return html +
           "<a href=\"#machine\">Machine, versions, settings</a><a href=\"#files\">Files"
           "</a></nav>\n";
}

std::string subtitle(const MachineRecord& machine) {
    std::string text = machine.date;
    const auto add = [&](const std::string& part) {
        if (!part.empty()) text += (text.empty() ? "" : " \u00b7 ") + part;
    };
    add(machine.cpu);
    if (machine.cpus > 0) add(fmt::format("{} processors", machine.cpus));
    if (!machine.kernel.empty()) add("Linux " + machine.kernel);
    return text;
}

std::string page(const LabRecord& record, const Drawings& drawings) {
    std::string sections;
    std::vector<const ScenarioText*> present;
    for (const ScenarioText& scenario : scenario_texts()) {
        const std::string section = scenario_section(record, scenario, drawings);
        if (section.empty()) continue;
        present.push_back(&scenario);
        sections += section;
    }
    return "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
           "<title>Ferry lab</title>\n<style>" +
           std::string(kReportStyle) + plot_style() +
           "</style></head><body><main>\n<h1>Ferry lab: a service crosses between two platforms"
           "</h1>\n" +
           paragraph(subtitle(record.machine), "muted") + navigation(present) + opening(record) +
           sections + machine_section(record) + files_section() + "</main></body></html>\n";
}

// RFC 4180: quotes around everything that could be misread.
std::string csv_text(const std::string& text) {
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"') quoted += '"';
        quoted += c;
    }
    return quoted + "\"";
}

// The figures of each round, at the round's end; what was not measured has no line.
std::string rounds_csv(const RunRecord& run, const CrossingRecord& crossing) {
    std::string csv;
    const std::vector<std::int64_t> ends = round_ends(crossing);
    for (std::size_t i = 0; i < ends.size(); ++i) {
        const RoundRecord& round = crossing.rounds[i];
        const auto add = [&](const char* quantity, const char* unit, std::optional<double> value) {
            if (!value) return;
            csv += fmt::format(
                "{},{},{},{},{},{},{},{:.6f},{:.9g}\r\n", run.scenario, name_of(run.method),
                run.number, quantity, unit, crossing.from,
                csv_text(fmt::format("crossing {} round {}{}", crossing.number, round.number,
                                     round.in_freeze ? " in the freeze" : "")),
                static_cast<double>(ends[i]) / 1e9, *value);
        };
        add("round pages", "pages", static_cast<double>(round.pages));
        add("round sent", "bytes", static_cast<double>(round.bytes));
        add("round time", "ms", round.milliseconds);
        add("round written again", "bytes", round.dirty_bytes);
        add("round dirty rate", "bytes/s", dirty_rate_of(round));
        add("round bandwidth", "bytes/s", bandwidth_of(round));
        add("round expected freeze", "ms", round.expected_frozen_ms);
        add("round slowed down", "share", round.throttle);
    }
    return csv;
}

}  // namespace

std::string samples_csv(const LabRecord& record) {
    std::string csv = "scenario,method,run,quantity,unit,platform,subject,seconds,value\r\n";
    for (const RunRecord& run : record.runs) {
        for (const Series& series : run.series) {
            const std::string head =
                fmt::format("{},{},{},{},{},{},{}", run.scenario, name_of(run.method), run.number,
                            name_of(series.quantity), unit_of(series.quantity),
                            series.platform == 0 ? "" : fmt::format("{}", series.platform),
                            csv_text(series.subject));
            for (std::size_t i = 0; i < series.at_ns.size(); ++i) {
                csv += fmt::format("{},{:.6f},{:.9g}\r\n", head,
                                   static_cast<double>(series.at_ns[i]) / 1e9, series.values[i]);
            }
        }
        for (const CrossingRecord& crossing : run.crossings) csv += rounds_csv(run, crossing);
    }
    return csv;
}

Result<std::string> write_lab_report(const LabRecord& record, const std::string& directory) {
    std::vector<Plot> plots;
    for (const ScenarioText& scenario : scenario_texts()) {
        for (Plot& plot : scenario_plots(record, scenario)) plots.push_back(std::move(plot));
    }
    Drawings drawings;
    if (!plots.empty()) {
        const std::vector<std::string> drawn = TRY(draw(plots, directory + "/plots"));
        for (std::size_t i = 0; i < plots.size(); ++i) drawings[plots[i].name] = drawn[i];
    }
    TRY(save_record(directory + "/record.json", record));
    TRY(write_text(directory + "/samples.csv", samples_csv(record)));
    const std::string path = directory + "/report.html";
    TRY(write_text(path, page(record, drawings)));
    return path;
}

}  // namespace ferry::lab
