#include "migrate/group_convergence.h"

#include <algorithm>

namespace ferry::migrate {

using pages::Seconds;

namespace {

bool measures(const MemberRound& round) {
    return pages::Convergence::measures_bandwidth(
        {.bytes_sent = round.bytes_sent, .duration = round.duration});
}

}  // namespace

GroupConvergence::GroupConvergence(pages::ConvergenceLimits limits, std::size_t members,
                                   unsigned processors)
    : rules_(limits), members_(members), processors_(std::max(processors, 1u)) {}

void GroupConvergence::add(std::size_t member, const MemberRound& round, Seconds ended) {
    Member& of = members_.at(member);
    of.latest = round;
    of.rounds.push_back({.begun = ended - round.duration,
                         .ended = ended,
                         .bytes = static_cast<double>(round.bytes_sent)});
    of.measures = of.measures || measures(round);
    // Until one was long enough the latest has to do.
    if (measures(round) || !of.measures) of.measure = of.rounds.size() - 1;
    has_news_ = true;
}

double GroupConvergence::rate_during(const Sending& time) const {
    const Seconds duration = time.ended - time.begun;
    if (duration.count() <= 0) return 0;
    double bytes = 0;
    for (const Member& member : members_) {
        for (const Sending& round : member.rounds) {
            const Seconds both =
                std::min(round.ended, time.ended) - std::max(round.begun, time.begun);
            if (both.count() <= 0) continue;
            bytes += round.bytes * (both / (round.ended - round.begun));
        }
    }
    return bytes / duration.count();
}

// Who sends while the others scan or wait has the link for itself, and what it sends then is what
// the link carries; beside the others, all of them together show it. The link carries at least the
// most that was seen.
double GroupConvergence::bandwidth() const {
    double most = 0;
    for (const Member& member : members_) {
        if (member.rounds.empty()) continue;
        most = std::max(most, rate_during(member.rounds[member.measure]));
    }
    return most;
}

pages::Decision GroupConvergence::decide() {
    has_news_ = false;
    pages::RoundMeasure all;
    Seconds work{0};
    for (const Member& member : members_) {
        all.bytes_sent += member.latest.bytes_sent;
        all.bytes_dirty += member.latest.bytes_dirty;
        all.fixed_cost = std::max(all.fixed_cost, member.latest.fixed_cost);
        work += member.latest.fixed_cost;
    }
    all.fixed_cost = std::max(all.fixed_cost, work / processors_);
    return rules_.after_round_at(bandwidth(), all);
}

double GroupConvergence::dirty_rate() const {
    double rate = 0;
    for (const Member& member : members_) rate += member.latest.dirty_rate;
    return rate;
}

bool GroupConvergence::can_be_slower() const {
    return std::ranges::any_of(members_,
                               [](const Member& member) { return member.latest.can_be_slower; });
}

}  // namespace ferry::migrate
