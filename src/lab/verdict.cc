#include "lab/verdict.h"

#include <fmt/format.h>

#include <span>

#include "lab/markup.h"
#include "lab/record_figures.h"

namespace ferry::lab {
namespace {

constexpr const char* kOneSite[] = {"1", "2", "3"};
constexpr const char* kThreeSites[] = {"4"};
constexpr const char* kAllScenarios[] = {"1", "2", "3", "4"};

// What is wanted of a figure of which less is better.
struct Wanted {
    double reach, aim;
};

Standing stand(double value, Wanted wanted) {
    if (value <= wanted.aim) return Standing::Aimed;
    return value <= wanted.reach ? Standing::Reached : Standing::Missed;
}

Runs runs_of_all(const LabRecord& record, std::span<const char* const> scenarios, Method method) {
    Runs all;
    for (const char* scenario : scenarios) {
        const Runs runs = runs_of(record, scenario, method);
        all.insert(all.end(), runs.begin(), runs.end());
    }
    return all;
}

Verdict judge_pause(const LabRecord& record, std::span<const char* const> scenarios,
                    const char* what, Wanted wanted_ms, const char* paper) {
    Verdict verdict{what, duration_text(wanted_ms.reach), duration_text(wanted_ms.aim), paper, {}};
    const auto pauses = spread(over_runs(runs_of_all(record, scenarios, Method::Live),
                                         [](const RunRecord& run) { return longest_pause(run); }));
    if (!pauses) return verdict;
    verdict.measured = duration_text(pauses->greatest);
    if (pauses->count > 1) {
        verdict.measured +=
            fmt::format(" (median of {} runs: {})", pauses->count, duration_text(pauses->median));
    }
    verdict.standing = stand(pauses->greatest, wanted_ms);
    return verdict;
}

// Sums of a count over the runs that have it.
struct Sum {
    std::uint64_t value = 0;
    bool measured = false;
    void add(const std::optional<std::uint64_t>& count) {
        if (!count) return;
        value += *count;
        measured = true;
    }
};

Verdict judge_losses(const LabRecord& record) {
    Verdict verdict{"failed requests, lost or doubled comments, broken connections",
                    "0",
                    "0",
                    "connections lost",
                    {}};
    Sum failed, lost, doubled, broken;
    for (const RunRecord* run : runs_of_all(record, kAllScenarios, Method::Live)) {
        if (!run->clients) continue;
        failed.add(run->clients->failed_requests);
        lost.add(run->clients->comments_lost);
        doubled.add(run->clients->comments_doubled);
        broken.add(run->clients->broken_connections);
    }
    std::string words;
    std::uint64_t all = 0;
    bool complete = true;
    const auto say = [&](const Sum& sum, const char* what) {
        complete = complete && sum.measured;
        all += sum.value;
        if (sum.measured)
            words += fmt::format("{}{} {}", words.empty() ? "" : ", ", sum.value, what);
    };
    say(failed, "failed");
    say(lost, "lost");
    say(doubled, "doubled");
    say(broken, "broken");
    verdict.measured = words;
    if (all > 0) {
        verdict.standing = Standing::Missed;
    } else if (complete) {
        verdict.standing = Standing::Aimed;
    }
    return verdict;
}

Verdict judge_memory(const LabRecord& record) {
    constexpr Wanted kWanted{1.05, 1.00};
    Verdict verdict{"memory of the restored service over that before",
                    "1.05",
                    "1.00",
                    "platform 2 grew by 0.42 GB",
                    {}};
    std::vector<double> ratios;
    for (const RunRecord* run : runs_of_all(record, kAllScenarios, Method::Live)) {
        for (const CrossingRecord& crossing : run->crossings) {
            if (const auto ratio = memory_ratio(crossing)) ratios.push_back(*ratio);
        }
    }
    const auto found = spread(std::move(ratios));
    if (!found) return verdict;
    verdict.measured = decimal_text(found->greatest, 3);
    if (found->count > 1) {
        verdict.measured += fmt::format(" (median of {} crossings: {})", found->count,
                                        decimal_text(found->median, 3));
    }
    verdict.standing = stand(found->greatest, kWanted);
    return verdict;
}

// Of the method checkpoint, one site: each crossing's phase.
Verdict judge_phase(const LabRecord& record, PhaseKind kind, Verdict verdict, Wanted wanted_ms) {
    verdict.reach = duration_text(wanted_ms.reach) + ", as runc with CRIU 4.2";
    verdict.aim = duration_text(wanted_ms.aim);
    std::vector<double> times;
    for (const RunRecord* run : runs_of_all(record, kOneSite, Method::Checkpoint)) {
        for (const CrossingRecord& crossing : run->crossings) {
            const PhaseRecord* phase = find_phase(crossing, kind);
            if (crossing.succeeded && phase != nullptr) times.push_back(phase->milliseconds());
        }
    }
    const auto found = spread(std::move(times));
    if (!found) return verdict;
    verdict.measured = duration_text(found->median);
    const std::string least = duration_text(found->least), most = duration_text(found->greatest);
    if (least != most) {
        verdict.measured = fmt::format("median {} ({} to {})", verdict.measured, least, most);
    }
    verdict.standing = stand(found->median, wanted_ms);
    return verdict;
}

Verdict judge_comments(const LabRecord& record) {
    Verdict verdict{"comments acknowledged and then found exactly once", "all", "all", "", {}};
    Sum acknowledged, found;
    for (const RunRecord* run : runs_of_all(record, kAllScenarios, Method::Live)) {
        if (!run->clients || !run->clients->comments_acknowledged) continue;
        acknowledged.add(run->clients->comments_acknowledged);
        found.add(run->clients->comments_found_once);
    }
    // None at all proves nothing.
    if (acknowledged.value == 0 || !found.measured) return verdict;
    verdict.measured =
        fmt::format("{} of {}", count_text(found.value), count_text(acknowledged.value));
    verdict.standing = found.value == acknowledged.value ? Standing::Aimed : Standing::Missed;
    return verdict;
}

}  // namespace

std::vector<Verdict> judge(const LabRecord& record) {
    return {
        judge_pause(record, kOneSite, "longest pause of any client, live, one site under load",
                    {300, 50}, "connections lost; restore alone 18 to 60 s"),
        judge_pause(record, kThreeSites, "the same, three sites together", {500, 100},
                    "restore alone 59 s"),
        judge_losses(record),
        judge_memory(record),
        judge_phase(record, PhaseKind::Checkpoint,
                    {"checkpoint, method checkpoint, one site", {}, {}, "0.994 s", {}}, {170, 85}),
        judge_phase(record, PhaseKind::Restore,
                    {"restore, method checkpoint, one site, network working again",
                     {},
                     {},
                     "18.1 to 44.8 s",
                     {}},
                    {200, 100}),
        judge_comments(record),
    };
}

}  // namespace ferry::lab
