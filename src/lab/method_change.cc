#include <fmt/format.h>

#include <algorithm>

#include "lab/dirty_run.h"

namespace ferry::lab {
namespace {

constexpr double kMib = 1024.0 * 1024.0;

// The state of a pre-copy at the end of a round after which somebody looked at what was written.
struct Turn {
    const migrate::Report& report;
    const migrate::Round& round;
    double elapsed_ms = 0;
    std::uint64_t sent_bytes = 0;

    [[nodiscard]] std::uint64_t dirty_bytes() const { return round.dirty_bytes.value_or(0); }
    [[nodiscard]] double ms_to_send(std::uint64_t bytes) const {
        return round.bandwidth > 0 ? static_cast<double>(bytes) * 1000 / round.bandwidth : 0;
    }
    [[nodiscard]] double fixed_ms() const {
        return std::max(0.0, round.expected_downtime_ms - ms_to_send(dirty_bytes()));
    }
};

MethodEstimate stop_and_copy(const Turn& now) {
    return {.method = "stop-and-copy",
            .frozen_ms = now.round.expected_downtime_ms,
            .total_ms = now.elapsed_ms + now.round.expected_downtime_ms,
            .wire_bytes = now.sent_bytes + now.dirty_bytes(),
            .remark = "what is left crosses while the service stands still"};
}

MethodEstimate more_rounds(const Turn& now) {
    return {.method = "pre-copy, more rounds",
            .frozen_ms = {},
            .total_ms = {},
            .wire_bytes = {},
            .remark = fmt::format("does not end: of {:.0f} MiB that the last round sent {:.0f} MiB "
                                  "were written again before its end",
                                  static_cast<double>(now.round.bytes) / kMib,
                                  static_cast<double>(now.dirty_bytes()) / kMib)};
}

MethodEstimate throttled(const Turn& now) {
    const double rate = now.round.dirty_rate().value_or(0);
    const double running = rate > 0 ? std::min(0.5 * now.round.bandwidth / rate, 1.0) : 1.0;
    return {.method = "pre-copy, service slowed down",
            .frozen_ms = now.report.max_downtime_ms,
            .total_ms = {},
            .wire_bytes = {},
            .remark = fmt::format("the service stands still for {:.0f} % of the time or more "
                                  "while the rounds go on",
                                  100 * (1 - running))};
}

MethodEstimate checkpoint(const Turn& now) {
    const double frozen = now.fixed_ms() + now.ms_to_send(now.report.memory_before);
    return {.method = "checkpoint in files",
            .frozen_ms = frozen,
            .total_ms = frozen,
            .wire_bytes = now.report.memory_before,
            .remark =
                "everything crosses while the service stands still; writing and reading "
                "the files comes on top"};
}

MethodEstimate post_copy(const Turn& now) {
    return {.method = "post-copy",
            .frozen_ms = now.fixed_ms(),
            .total_ms = now.fixed_ms() + now.ms_to_send(now.report.memory_before),
            .wire_bytes = now.report.memory_before,
            .remark =
                "not done: every page that is missing is waited for, and a link that breaks "
                "meanwhile takes the service with it"};
}

// How much slower the service was made after this round; 0: the rounds ended there although what
// was left did not fit. The passes after the last look belong to the freeze.
std::optional<double> turn_after(const migrate::Report& report, std::size_t i) {
    const auto& rounds = report.rounds;
    if (!rounds[i].dirty_bytes) return std::nullopt;
    const bool is_last = i + 1 == rounds.size() || !rounds[i + 1].dirty_bytes;
    if (is_last) {
        const bool frozen = i + 1 < rounds.size() && !report.fits_downtime;
        return frozen ? std::optional(0.0) : std::nullopt;
    }
    if (rounds[i + 1].throttle <= rounds[i].throttle) return std::nullopt;
    return rounds[i + 1].throttle;
}

}  // namespace

std::optional<MethodChange> method_change(const migrate::Report& report, std::int64_t begin_ns) {
    double elapsed_ms = 0;
    std::uint64_t sent_bytes = 0;
    for (std::size_t i = 0; i < report.rounds.size(); ++i) {
        const migrate::Round& round = report.rounds[i];
        elapsed_ms += round.milliseconds;
        sent_bytes += round.bytes;
        const auto turn = turn_after(report, i);
        if (!turn) continue;
        const Turn now{report, round, elapsed_ms, sent_bytes};
        const double share = *turn;
        return MethodChange{
            .at_ns = begin_ns + static_cast<std::int64_t>(elapsed_ms * 1e6),
            .after_round = round.number,
            .from = "pre-copy",
            .to = share > 0 ? fmt::format("pre-copy with the service slowed down by {:.0f} %",
                                          100 * share)
                            : "stop-and-copy",
            .reason = fmt::format("{} (rule of convergence), and a freeze now is expected to "
                                  "take {:.0f} ms, above --max-downtime of {:.0f} ms",
                                  share > 0 ? "another round would not help" : report.stop_rule,
                                  round.expected_downtime_ms, report.max_downtime_ms),
            .estimates = {stop_and_copy(now), more_rounds(now), throttled(now), checkpoint(now),
                          post_copy(now)}};
    }
    return std::nullopt;
}

}  // namespace ferry::lab
