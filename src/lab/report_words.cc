#include "lab/report_words.h"

#include <fmt/format.h>

#include <algorithm>

#include "lab/markup.h"
#include "lab/paper.h"
#include "lab/record_figures.h"

namespace ferry::lab {
namespace {

std::string plural(std::size_t count, const char* one, const char* many) {
    return fmt::format("{} {}", count, count == 1 ? one : many);
}

std::string times_text(std::size_t count) {
    if (count == 1) return "once";
    return count == 2 ? "twice" : fmt::format("{} times", count);
}

std::string run_name(const RunRecord& run) {
    return fmt::format("{}, method {}, run {}", scenario_name(run.scenario), name_of(run.method),
                       run.number);
}

std::size_t crossings_of(const LabRecord& record, Method method) {
    std::size_t count = 0;
    for (const RunRecord& run : record.runs) {
        if (run.method != method || run.scenario == "dirty") continue;
        count += static_cast<std::size_t>(
            std::count_if(run.crossings.begin(), run.crossings.end(),
                          [](const CrossingRecord& crossing) { return crossing.succeeded; }));
    }
    return count;
}

// The greatest pause over the runs of a method and some scenarios.
std::optional<double> greatest_pause(const LabRecord& record, Method method,
                                     std::initializer_list<const char*> scenarios) {
    std::optional<double> greatest;
    for (const char* scenario : scenarios) {
        for (const RunRecord* run : runs_of(record, scenario, method)) {
            const auto pause = longest_pause(*run);
            if (pause) greatest = std::max(greatest.value_or(0), *pause);
        }
    }
    return greatest;
}

void add_pauses(const LabRecord& record, Method method, const char* how,
                std::vector<std::string>& sentences) {
    const auto one = greatest_pause(record, method, {"1", "2", "3"});
    const auto three = greatest_pause(record, method, {"4"});
    if (!one && !three) return;
    std::string text =
        fmt::format("{}: the longest that any client waited for an answer was ", how);
    if (one) text += duration_text(*one) + (three ? " with one site and " : ".");
    if (three) text += duration_text(*three) + " with three sites.";
    sentences.push_back(text);
}

std::optional<std::uint64_t> sum_over(const LabRecord& record, Method method,
                                      std::optional<std::uint64_t> ClientRecord::* field) {
    std::optional<std::uint64_t> sum;
    for (const RunRecord& run : record.runs) {
        if (run.method != method || run.scenario == "dirty" || !run.clients) continue;
        const std::optional<std::uint64_t>& value = (*run.clients).*field;
        if (value) sum = sum.value_or(0) + *value;
    }
    return sum;
}

void add_promises(const LabRecord& record, Method method, std::vector<std::string>& sentences) {
    const auto requests = sum_over(record, method, &ClientRecord::requests);
    const auto failed = sum_over(record, method, &ClientRecord::failed_requests);
    const auto broken = sum_over(record, method, &ClientRecord::broken_connections);
    const auto comments = sum_over(record, method, &ClientRecord::comments_acknowledged);
    const auto found = sum_over(record, method, &ClientRecord::comments_found_once);
    std::string text;
    if (requests && failed) {
        text += fmt::format("{} of {} requests failed", count_text(*failed), count_text(*requests));
    }
    if (broken) {
        text += fmt::format("{}{} broke", text.empty() ? "" : ", ",
                            plural(*broken, "connection", "connections"));
    }
    if (comments && found) {
        text += fmt::format("{}{} of {} acknowledged comments were found exactly once afterwards",
                            text.empty() ? "" : ", ", count_text(*found), count_text(*comments));
    }
    if (!text.empty()) {
        sentences.push_back(fmt::format("Method {}: {}.", name_of(method), text));
    }
}

void add_phases(const LabRecord& record, std::vector<std::string>& sentences) {
    std::vector<double> checkpoints, restores;
    for (const RunRecord& run : record.runs) {
        if (run.method != Method::Checkpoint || run.scenario == "dirty") continue;
        for (const CrossingRecord& crossing : run.crossings) {
            if (!crossing.succeeded) continue;
            const PhaseRecord* checkpoint = find_phase(crossing, PhaseKind::Checkpoint);
            const PhaseRecord* restore = find_phase(crossing, PhaseKind::Restore);
            if (checkpoint != nullptr) checkpoints.push_back(checkpoint->milliseconds());
            if (restore != nullptr) restores.push_back(restore->milliseconds());
        }
    }
    const auto checkpoint = spread(checkpoints), restore = spread(restores);
    if (!checkpoint || !restore) return;
    sentences.push_back(fmt::format(
        "Through image files, as the paper did it, a checkpoint took {} and a restore {} ({}); "
        "the paper's checkpoints took 0.994 to 3.939 s, its restores 18.1 to 59.9 s.",
        duration_text(checkpoint->median), duration_text(restore->median),
        checkpoint->count == 1 ? std::string("one crossing")
                               : fmt::format("medians of {} crossings", checkpoint->count)));
}

void add_method_changes(const LabRecord& record, std::vector<std::string>& sentences) {
    for (const RunRecord& run : record.runs) {
        for (const CrossingRecord& crossing : run.crossings) {
            if (!crossing.method_change) continue;
            const MethodChange& change = *crossing.method_change;
            sentences.push_back(fmt::format("{}: after round {} Ferry gave up {} for {}: {}.",
                                            run_name(run), change.after_round, change.from,
                                            change.to, change.reason));
        }
    }
}

}  // namespace

std::string scenario_name(const std::string& scenario) {
    for (const ScenarioText& text : scenario_texts()) {
        if (text.scenario == scenario) return fmt::format("Scenario {}", text.numeral);
    }
    return "Scenario " + scenario;
}

std::string story(const LabRecord& record) {
    const std::size_t live = crossings_of(record, Method::Live);
    const std::size_t checkpoint = crossings_of(record, Method::Checkpoint);
    const std::string& service = record.settings.service;
    std::string how;
    if (live > 0) how = times_text(live) + " live";
    if (checkpoint > 0) {
        how += (how.empty() ? "" : " and ") + times_text(checkpoint) + " by a checkpoint in files";
    }
    std::string text =
        fmt::format("A service{} ran under load and crossed between two platforms{}.",
                    service.empty() ? "" : " (" + service + ")",
                    how.empty() ? ", or was meant to" : ": " + how);
    if (record.settings.requests_per_second) {
        text += fmt::format(" Its clients asked {} times a second, whether answers came or not.",
                            decimal_text(*record.settings.requests_per_second, 0));
    }
    return text;
}

std::vector<std::string> findings(const LabRecord& record) {
    std::vector<std::string> sentences;
    add_pauses(record, Method::Live, "Method live", sentences);
    add_promises(record, Method::Live, sentences);
    add_pauses(record, Method::Checkpoint, "Method checkpoint", sentences);
    add_promises(record, Method::Checkpoint, sentences);
    add_phases(record, sentences);
    add_method_changes(record, sentences);
    return sentences;
}

std::vector<std::string> failures(const LabRecord& record) {
    std::vector<std::string> sentences;
    for (const RunRecord& run : record.runs) {
        if (!run.succeeded) {
            sentences.push_back(
                fmt::format("{}: {}", run_name(run),
                            run.error.empty() ? "failed, without a reason" : run.error));
        }
        for (const CrossingRecord& crossing : run.crossings) {
            if (crossing.succeeded) continue;
            sentences.push_back(
                fmt::format("{}, crossing {} (platform {} to {}): {}", run_name(run),
                            crossing.number, crossing.from, crossing.to,
                            crossing.error.empty() ? "did not succeed" : crossing.error));
        }
    }
    return sentences;
}

std::string summary(const std::vector<Verdict>& verdicts) {
    const auto count = [&](Standing standing) {
        return std::count_if(verdicts.begin(), verdicts.end(),
                             [&](const Verdict& verdict) { return verdict.standing == standing; });
    };
    const auto aimed = count(Standing::Aimed), reached = count(Standing::Reached);
    const auto missed = count(Standing::Missed), absent = count(Standing::NotMeasured);
    std::string text = fmt::format("{} of {} figures reached, {} of them as well as aimed at",
                                   aimed + reached, verdicts.size(), aimed);
    if (missed > 0) text += fmt::format("; {} missed", missed);
    if (absent > 0) text += fmt::format("; {} not measured", absent);
    return text + ".";
}

}  // namespace ferry::lab
