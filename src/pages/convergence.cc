#include "pages/convergence.h"

#include <algorithm>

namespace ferry::pages {
namespace {

// A round shorter than this, or of fewer bytes, says more about latencies than about bandwidth.
constexpr Seconds kShortestMeasure{0.005};
constexpr std::uint64_t kFewestBytes = 4 << 20;
// "Shrinks" means: by a tenth at least. Below that, the remainder of a round is noise.
constexpr double kShrinks = 0.9;
// Where it no longer shrinks it goes up and down, by more than half on a busy host. The freeze
// waits for a low: for what is this much above the lowest so far, and for each round that it has
// waited this much more.
constexpr double kPatience = 0.25;

Seconds time_for(std::uint64_t bytes, double bandwidth) {
    if (bytes == 0) return Seconds{0};
    // Nothing was ever measured: assume the worst, so that the rules by time do not stop us.
    if (bandwidth <= 0) return Seconds{1e9};
    return Seconds{static_cast<double>(bytes) / bandwidth};
}

}  // namespace

std::string_view describe(Rule rule) {
    switch (rule) {
        case Rule::NotYet:
            return "too much is dirty, another round shrinks it";
        case Rule::WorthARound:
            return "fits max-downtime, a short round shortens the freeze";
        case Rule::FitsDowntime:
            return "what is dirty fits max-downtime";
        case Rule::CleanNow:
            return "nothing is dirty";
        case Rule::FixedCostAlone:
            return "the fixed cost alone exceeds max-downtime";
        case Rule::NotShrinking:
            return "another round would not help";
        case Rule::RoundLimit:
            return "limit of rounds";
    }
    return "unknown";
}

bool Convergence::measures_bandwidth(const RoundMeasure& round) {
    return round.duration >= kShortestMeasure && round.bytes_sent >= kFewestBytes;
}

Decision Convergence::after_round(const RoundMeasure& round, double bandwidth_hint) {
    if (measures_bandwidth(round)) {
        const double latest = static_cast<double>(round.bytes_sent) / round.duration.count();
        // Recent rounds count more: the first one also warms caches and the TCP window.
        bandwidth_ = bandwidth_ > 0 ? (bandwidth_ + latest) / 2 : latest;
    } else if (bandwidth_ <= 0 && bandwidth_hint > 0) {
        bandwidth_ = bandwidth_hint;
    } else if (bandwidth_ <= 0 && round.bytes_sent > 0 && round.duration.count() > 0) {
        bandwidth_ = static_cast<double>(round.bytes_sent) / round.duration.count();
    }
    return after_round_at(bandwidth_, round);
}

Decision Convergence::after_round_at(double bandwidth, const RoundMeasure& round) {
    const std::uint64_t lowest = rounds_ == 0 ? round.bytes_sent : lowest_dirty_;
    const double dirty = static_cast<double>(round.bytes_dirty);
    // The first round is compared with what it sent: everything.
    stalled_ = dirty < kShrinks * static_cast<double>(lowest) ? 0 : stalled_ + 1;
    const bool is_low = dirty <= static_cast<double>(lowest) * (1 + kPatience * stalled_);
    lowest_dirty_ = rounds_ == 0 ? round.bytes_dirty : std::min(lowest_dirty_, round.bytes_dirty);
    ++rounds_;

    const Seconds memory_part = time_for(round.bytes_dirty, bandwidth);
    Decision decision = {.stop = true,
                         .rule = Rule::NotYet,
                         .expected_downtime = round.fixed_cost + memory_part,
                         .bandwidth = bandwidth};
    const bool fits = decision.expected_downtime <= limits_.max_downtime;
    decision.fits = fits;
    const bool small = memory_part <= limits_.memory_part_worth_a_round;
    if (round.bytes_dirty == 0) {
        decision.rule = Rule::CleanNow;
    } else if (rounds_ >= limits_.max_rounds) {
        decision.rule = fits ? Rule::FitsDowntime : Rule::RoundLimit;
    } else if (small) {
        decision.rule = fits ? Rule::FitsDowntime : Rule::FixedCostAlone;
    } else if (fits) {
        const bool another = (stalled_ == 0 || !is_low) && extra_rounds_ < limits_.max_extra_rounds;
        decision.rule = another ? Rule::WorthARound : Rule::FitsDowntime;
        decision.stop = !another;
        if (another) ++extra_rounds_;
    } else if (stalled_ >= 2 && is_low) {
        // Twice in a row: a single burst of writes does not end the pre-copy.
        decision.rule = Rule::NotShrinking;
    } else {
        decision.stop = false;
    }
    return decision;
}

}  // namespace ferry::pages
