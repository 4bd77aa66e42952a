// What the source half of a session does when the freeze is expected to be longer than it may be.
#include <fmt/format.h>

#include "migrate/group_gate.h"
#include "migrate/source_session.h"

namespace ferry::migrate {

Result<bool> SourceSession::despair(const pages::Decision& decision) {
    const std::string why = describe_long_freeze(
        request_.max_downtime, pages::describe(decision.rule), decision.expected_downtime);
    if (request_.on_no_convergence == OnNoConvergence::Abort) return fail(Error::limit(why));
    // Where it is not memory that takes the time, a slower service saves none.
    const bool slower_helps = decision.rule == pages::Rule::NotShrinking;
    const Round& last = report_.rounds.back();
    if (request_.on_no_convergence == OnNoConvergence::Throttle && slower_helps &&
        throttle_->tighten(last.dirty_rate().value_or(0), decision.bandwidth)) {
        convergence_.look_again();
        tell_slower(why);
        return true;
    }
    progress("precopy", why + "; it is frozen all the same");
    return false;
}

void SourceSession::tell_slower(const std::string& why) {
    progress("precopy", fmt::format("{}; slowed down by {:.0f} %", why, 100 * throttle_->share()));
}

void SourceSession::follow_verdict(const GroupVerdict& verdict) {
    if (!verdict.is_judged) return;
    const std::string why =
        describe_long_freeze(request_.max_downtime, verdict.rule, verdict.expected_downtime);
    if (verdict.next == GroupVerdict::Next::Slow &&
        throttle_->tighten(verdict.dirty_rate, verdict.bandwidth)) {
        tell_slower(why);
    }
    if (verdict.next != GroupVerdict::Next::Go) return;
    report_.stop_rule = verdict.rule;
    report_.fits_downtime = verdict.fits;
    report_.predicted_downtime_ms = verdict.expected_downtime.count() * 1000.0;
    if (!verdict.fits) progress("precopy", why + "; it is frozen all the same");
}

void SourceSession::note_for_group(const pages::RoundMeasure& round) {
    const bool throttles = request_.on_no_convergence == OnNoConvergence::Throttle;
    round_for_group_ = {.bytes_sent = round.bytes_sent,
                        .duration = round.duration,
                        .bytes_dirty = round.bytes_dirty,
                        .dirty_rate = report_.rounds.back().dirty_rate().value_or(0),
                        .fixed_cost = round.fixed_cost,
                        .can_be_slower = throttles && throttle_->can_be_tightened()};
}

}  // namespace ferry::migrate
