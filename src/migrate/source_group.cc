// What the source half of a session does for the group that it is a member of, if it is of one.
#include <algorithm>
#include <utility>

#include "migrate/group_gate.h"
#include "migrate/source_session.h"

namespace ferry::migrate {
namespace {

// While others have not converged, what is written here is sent on. Rarely enough that a member is
// more often found waiting than sending.
constexpr std::chrono::milliseconds kWhileOthersConverge{100};

}  // namespace

Result<> SourceSession::await_group() {
    GroupGate* const group = host_.group();
    if (group == nullptr) return {};
    std::chrono::milliseconds pause = kWhileOthersConverge;
    for (;;) {
        const auto verdict =
            TRY(group->all_converged(std::exchange(round_for_group_, std::nullopt), pause));
        if (verdict) follow_verdict(*verdict);
        if (verdict && verdict->next == GroupVerdict::Next::Go) return {};
        const Clock::time_point begun = Clock::now();
        if (is_live()) {
            TRY(round());
        } else {
            TRY(look_again());
        }
        pause =
            std::max(kWhileOthersConverge,
                     std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun));
    }
}

// Who has little to send does not stand still while others send much.
Result<> SourceSession::await_last_passes() {
    GroupGate* const group = host_.group();
    return group == nullptr ? Result<>() : group->all_passed(first_.then);
}

Result<bool> SourceSession::group_is_frozen(bool here) {
    GroupGate* const group = host_.group();
    if (group == nullptr) return here;
    const bool all = TRY(group->all_frozen(here));
    if (here && !all) in_the_way_ = "another member of the group could not be frozen";
    return all;
}

// The tree must not go on by itself from here on; in a group, unless the group is aborted.
Result<> SourceSession::hold_and_decide() {
    GroupGate* const group = host_.group();
    TRY(host_.record_held(frozen_->going()));
    if (group == nullptr) {
        TRY(frozen_->hold());
        return host_.record(SessionState::Committed);
    }
    if (group->decision().empty()) {
        TRY(frozen_->hold());
    } else {
        TRY(frozen_->hold_until(group->decision()));
    }
    const Result<> voted = group->vote(link_->channel().fd());
    // Whatever fails from here on, the group has committed, or may have.
    committed_ = voted || voted.error().kind() == Error::Kind::Gone;
    TRY(voted);
    return host_.record(SessionState::Committed);
}

Error SourceSession::abort_error() {
    GroupGate* const group = host_.group();
    const std::string why = group == nullptr ? std::string() : group->why_aborted();
    return Error::aborted(why.empty() ? "aborted on request" : why);
}

}  // namespace ferry::migrate
