#include "pages/convergence.h"

#include <algorithm>

namespace ferry::pages {
namespace {

// A round shorter than this, or of fewer bytes, says more about latencies than about bandwidth.
constexpr Seconds kShortestMeasure{0.005};
constexpr std::uint64_t kFewestBytes = 4 << 20;
// "Shrinks" means: by a tenth at least. Below that, the remainder of a round is noise.
constexpr double kShrinks = 0.9;

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

Decision Convergence::after_round(const RoundMeasure& round, double bandwidth_hint) {
    const bool measured = round.duration >= kShortestMeasure && round.bytes_sent >= kFewestBytes;
    if (measured) {
        const double latest = static_cast<double>(round.bytes_sent) / round.duration.count();
        // Recent rounds count more: the first one also warms caches and the TCP window.
        bandwidth_ = bandwidth_ > 0 ? (bandwidth_ + latest) / 2 : latest;
    } else if (bandwidth_ <= 0 && bandwidth_hint > 0) {
        bandwidth_ = bandwidth_hint;
    } else if (bandwidth_ <= 0 && round.bytes_sent > 0 && round.duration.count() > 0) {
        bandwidth_ = static_cast<double>(round.bytes_sent) / round.duration.count();
    }
    history_.push_back(round);

    const Seconds memory_part = time_for(round.bytes_dirty, bandwidth_);
    Decision decision = {.stop = true,
                         .rule = Rule::NotYet,
                         .expected_downtime = round.fixed_cost + memory_part,
                         .bandwidth = bandwidth_};
    // The number of bytes that the last round left dirty, against what the one before it left.
    // The first round is compared with what it sent: everything.
    const std::size_t n = history_.size();
    const auto left_before = [&](std::size_t back) {
        return n > back ? history_[n - 1 - back].bytes_dirty : history_.front().bytes_sent;
    };
    const auto shrank = [&](std::size_t back) {
        return static_cast<double>(left_before(back)) <
               kShrinks * static_cast<double>(left_before(back + 1));
    };

    const bool fits = decision.expected_downtime <= limits_.max_downtime;
    const bool small = memory_part <= limits_.memory_part_worth_a_round;
    if (round.bytes_dirty == 0) {
        decision.rule = Rule::CleanNow;
    } else if (n >= limits_.max_rounds) {
        decision.rule = fits ? Rule::FitsDowntime : Rule::RoundLimit;
    } else if (small) {
        decision.rule = fits ? Rule::FitsDowntime : Rule::FixedCostAlone;
    } else if (fits) {
        // As above, twice in a row: one noisy round does not lengthen the freeze.
        const bool shrinks = shrank(0) || shrank(1);
        const bool another = shrinks && extra_rounds_ < limits_.max_extra_rounds;
        decision.rule = another ? Rule::WorthARound : Rule::FitsDowntime;
        decision.stop = !another;
        if (another) ++extra_rounds_;
    } else if (!shrank(0) && n >= 2 && !shrank(1)) {
        // Twice in a row: a single burst of writes does not end the pre-copy.
        decision.rule = Rule::NotShrinking;
    } else {
        decision.stop = false;
    }
    return decision;
}

}  // namespace ferry::pages
