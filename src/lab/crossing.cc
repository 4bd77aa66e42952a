#include "lab/crossing.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace ferry::lab {
namespace {

constexpr double kMib = 1024.0 * 1024.0;

nlohmann::json histogram_json(const LatencyHistogram& histogram) {
    return {{"count", histogram.count()},
            {"p50_ms", histogram.quantile_ms(0.5)},
            {"p99_ms", histogram.quantile_ms(0.99)},
            {"p999_ms", histogram.quantile_ms(0.999)},
            {"max_ms", histogram.max_ms()}};
}

nlohmann::json figures_json(const PlatformFigures& before, const PlatformFigures& after) {
    return {{"memory_before", before.memory_bytes},
            {"memory_after", after.memory_bytes},
            {"open_files_before", before.open_files},
            {"open_files_after", after.open_files}};
}

std::string rounds_table(const migrate::Report& report) {
    std::string text = fmt::format("    {:>9} {:>12} {:>12} {:>15} {:>10}\n", "round", "pages",
                                   "bytes", "written again", "time");
    for (const migrate::Round& round : report.rounds) {
        text += fmt::format("    {:>9} {:>12} {:>12} {:>15} {:>7.1f} ms\n",
                            round.in_freeze ? "in freeze" : fmt::format("{}", round.number),
                            human_count(round.pages), human_bytes(round.bytes),
                            round.dirty_bytes ? human_bytes(*round.dirty_bytes) : "",
                            round.milliseconds);
    }
    return text;
}

std::string line(const char* name, const std::string& value) {
    return fmt::format("    {:<22} {}\n", name, value);
}

std::string platform_line(const std::string& name, const PlatformFigures& before,
                          const PlatformFigures& after) {
    return fmt::format("    {:<22} {:>10} -> {:<12} {:>6} -> {}\n", name,
                       human_bytes(before.memory_bytes), human_bytes(after.memory_bytes),
                       before.open_files, after.open_files);
}

}  // namespace

// The report is the last JSON object with rounds.
migrate::Report find_report(const CommandResult& result) {
    std::size_t end = result.out.size();
    while (end > 0) {
        const std::size_t start = result.out.find_last_of('\n', end - 1);
        const std::size_t from = start == std::string::npos ? 0 : start + 1;
        const auto json =
            nlohmann::json::parse(result.out.substr(from, end - from), nullptr, false);
        if (json.is_object() && json.contains("rounds")) {
            if (const auto report = migrate::report_from_json(json.dump())) return *report;
        }
        end = start == std::string::npos ? 0 : start;
    }
    migrate::Report failed;
    failed.error = fmt::format("exit {}: {}{}", result.status, result.err, result.out);
    return failed;
}

std::vector<migrate::Report> find_reports(const CommandResult& result, std::size_t services) {
    std::vector<migrate::Report> reports;
    const auto json = nlohmann::json::parse(result.out, nullptr, false);
    if (services > 1 && json.is_object() && json.contains("members")) {
        for (const auto& member : json["members"]) {
            if (auto report = migrate::report_from_json(member.dump())) reports.push_back(*report);
        }
    }
    // A group that never began has no members.
    if (reports.size() != services) reports.assign(services, find_report(result));
    return reports;
}

std::string human_bytes(std::uint64_t bytes) {
    const double value = static_cast<double>(bytes);
    if (bytes >= (std::uint64_t{1} << 30)) return fmt::format("{:.2f} GiB", value / kMib / 1024);
    if (bytes >= (std::uint64_t{1} << 20)) return fmt::format("{:.1f} MiB", value / kMib);
    return fmt::format("{:.1f} KiB", value / 1024);
}

std::string human_count(std::uint64_t count) {
    if (count < 1000) return fmt::format("{}", count);
    return fmt::format("{},{:03}", human_count(count / 1000), count % 1000);
}

nlohmann::json to_json(const Verification& verification) {
    return {{"keys_checked", verification.keys_checked},
            {"writes_acknowledged", verification.writes_acknowledged},
            {"writes_lost", verification.lost},
            {"values_foreign", verification.foreign},
            {"probe_errors", verification.probe_errors}};
}

nlohmann::json to_json(const Crossing& crossing) {
    const LoadWindow& clients = crossing.clients;
    return {{"from", crossing.from},
            {"to", crossing.to},
            {"report", nlohmann::json::parse(migrate::to_json(crossing.report), nullptr, false)},
            {"clients",
             {{"longest_pause_ms", clients.longest_pause()},
              {"longest_pause_ms_of_each_connection", clients.longest_pause_ms},
              {"writes_acknowledged", clients.writes_acknowledged},
              {"seconds", clients.seconds},
              {"writes", histogram_json(clients.writes)},
              {"probes", histogram_json(clients.probes)}}},
            {"platforms",
             {{crossing.from, figures_json(crossing.from_before, crossing.from_after)},
              {crossing.to, figures_json(crossing.to_before, crossing.to_after)}}},
            {"copies", crossing.copies}};
}

std::string describe(const Crossing& crossing) {
    const migrate::Report& report = crossing.report;
    const LoadWindow& clients = crossing.clients;
    std::string text = fmt::format("  {} -> {}\n", crossing.from, crossing.to);
    if (!report.succeeded) return text + line("FAILED", report.error);
    text += rounds_table(report);
    text += line("pre-copy ended because", report.stop_rule);
    text += line("total time", fmt::format("{:.0f} ms", report.total_ms));
    text += line("frozen", fmt::format("{:.1f} ms (predicted {:.1f} ms)", report.frozen_ms,
                                       report.predicted_downtime_ms));
    text += line("  checkpoint", fmt::format("{:.1f} ms", report.checkpoint_ms));
    text += line("  restore", fmt::format("{:.1f} ms", report.restore_ms));
    text +=
        line("longest client pause",
             fmt::format("{:.1f} ms (writes {:.1f}, probe {:.1f}; usual: p50 {:.2f}, p99 {:.2f})",
                         clients.longest_pause(), clients.writes.max_ms(), clients.probes.max_ms(),
                         clients.probes.quantile_ms(0.5), clients.probes.quantile_ms(0.99)));
    text += line("packets held", fmt::format("{}", report.held_packets));
    text += line("on the wire", fmt::format("{} ({:.2f} GiB/s)", human_bytes(report.wire_bytes),
                                            report.bytes_per_second() / kMib / 1024));
    text += fmt::format("    {:<22} {:^26}  {}\n", "", "memory", "open files");
    text += platform_line(crossing.from, crossing.from_before, crossing.from_after);
    text += platform_line(crossing.to, crossing.to_before, crossing.to_after);
    return text;
}

}  // namespace ferry::lab
