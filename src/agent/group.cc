#include "agent/group.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "agent/group_words.h"
#include "base/log.h"
#include "os/inet.h"
#include "os/socket.h"

namespace ferry::agent {
namespace {

using std::chrono::milliseconds;

// A decision that cannot be written is tried again.
constexpr milliseconds kTryAgain{100};

void tell(int gate, std::string_view word) {
    const auto sent = os::send_some(gate, std::as_bytes(std::span(word)));
    if (!sent) log_debug("telling a member {}: {}", word, sent.error().message());
}

}  // namespace

Group::Group(GroupVote vote, const Limits& limits, std::vector<Member> members)
    : vote_(std::move(vote)),
      limits_(limits),
      convergence_(limits.convergence, members.size(), std::thread::hardware_concurrency()) {
    for (Member& member : members) states_.push_back({.member = std::move(member)});
    thread_ = std::thread([this] { run(); });
}

Group::~Group() {
    thread_.join();
}

void Group::run() {
    for (;;) {
        std::vector<pollfd> fds;
        for (const State& state : states_) {
            fds.push_back({.fd = state.member.gate.get(), .events = POLLIN, .revents = 0});
        }
        const bool any = std::ranges::any_of(fds, [](const pollfd& fd) { return fd.fd >= 0; });
        if (!any) break;
        const auto ready = os::poll(fds, -1);
        if (!ready) log_error("group: {}", ready.error().message());
        for (std::size_t i = 0; i < fds.size(); ++i) {
            if (fds[i].revents != 0) hear(states_[i]);
        }
        advance();
    }
    finished_ = true;
}

void Group::hear(State& from) {
    std::array<std::byte, words::kWordBytesMax> packet = {};
    const auto received = os::receive_with_fds(from.member.gate.get(), packet);
    if (received && received->bytes > 0) {
        return take(from, {reinterpret_cast<const char*>(packet.data()), received->bytes});
    }
    from.member.gate.reset();
    if (phase_ == Phase::Decided) return;
    const std::string why = from.member.session->why_ended();
    decide(GroupDecision::Abort,
           fmt::format("{} of its group: {}", from.member.session->info().service,
                       why.empty() ? "its worker ended" : why));
}

void Group::take(State& from, std::string_view word) {
    if (word.starts_with(words::kReady)) hear_round(from, word);
    if (word == words::kBack) from.ready = false;
    if (word.starts_with(words::kPassed)) {
        from.passed = true;
        from.lead = words::time_of(word);
    }
    if (word == words::kFrozen) from.frozen = true;
    if (word == words::kBusy) from.busy = true;
    if (word == words::kVote) from.voted = true;
}

void Group::hear_round(State& from, std::string_view word) {
    from.ready = true;
    const auto round = words::round_of(word);
    if (!round) return log_error("{}", round.error().message());
    if (!*round) return;
    const pages::Seconds now = std::chrono::steady_clock::now().time_since_epoch();
    convergence_.add(static_cast<std::size_t>(&from - states_.data()), **round, now);
}

void Group::advance() {
    if (phase_ == Phase::Converging && all(&State::ready)) judge();
    if (phase_ == Phase::Passing && all(&State::passed)) start_freeze();
    if (phase_ == Phase::Freezing) end_attempt();
    if (phase_ == Phase::Voting && all(&State::voted)) decide(GroupDecision::Commit, "");
}

void Group::judge() {
    using Next = migrate::GroupVerdict::Next;
    if (convergence_.has_news()) verdict_ = verdict(convergence_.decide());
    if (!verdict_.fits && verdict_.next == Next::Go &&
        limits_.on_no_convergence == migrate::OnNoConvergence::Abort) {
        return decide(GroupDecision::Abort,
                      migrate::describe_long_freeze(limits_.convergence.max_downtime, verdict_.rule,
                                                    verdict_.expected_downtime));
    }
    for (State& state : states_) state.ready = false;
    if (verdict_.next == Next::Go) phase_ = Phase::Passing;
    tell_all(words::of(verdict_));
}

migrate::GroupVerdict Group::verdict(const pages::Decision& decision) {
    using Next = migrate::GroupVerdict::Next;
    const bool slower_helps = decision.stop && !decision.fits &&
                              decision.rule == pages::Rule::NotShrinking &&
                              convergence_.can_be_slower();
    if (slower_helps) convergence_.look_again();
    return {.next = slower_helps    ? Next::Slow
                    : decision.stop ? Next::Go
                                    : Next::Again,
            .is_judged = true,
            .rule = std::string(pages::describe(decision.rule)),
            .fits = decision.fits,
            .expected_downtime = decision.expected_downtime,
            .bandwidth = decision.bandwidth,
            .dirty_rate = convergence_.dirty_rate()};
}

// Who is frozen part by part begins first: the others do not stand still meanwhile.
void Group::start_freeze() {
    const milliseconds longest = std::ranges::max_element(states_, {}, &State::lead)->lead;
    phase_ = Phase::Freezing;
    for (State& state : states_) {
        state.passed = false;
        if (!state.member.gate) continue;
        tell(state.member.gate.get(), words::with_time(words::kFreeze, longest - state.lead));
    }
}

// Who stands still while another cannot is let go at once, and all begin again.
void Group::end_attempt() {
    const bool failed = std::ranges::any_of(states_, [](const State& state) { return state.busy; });
    if (failed) {
        for (State& state : states_) {
            if (!std::exchange(state.frozen, false)) continue;
            state.busy = true;
            tell(state.member.gate.get(), words::kThaw);
        }
        if (!all(&State::busy)) return;
        // One that has heard late that others were ready may have said so once more.
        for (State& state : states_) state.busy = state.ready = false;
        phase_ = Phase::Converging;
    } else if (all(&State::frozen)) {
        phase_ = Phase::Voting;
        tell_all(words::kGo);
    }
}

void Group::decide(GroupDecision proposal, const std::string& why) {
    Result<GroupDecision> decided = vote_.propose(proposal);
    while (!decided) {
        log_error("the group's decision: {}", decided.error().message());
        std::this_thread::sleep_for(kTryAgain);
        decided = vote_.propose(proposal);
    }
    phase_ = Phase::Decided;
    committed_ = *decided == GroupDecision::Commit;
    if (*decided == GroupDecision::Commit) return tell_all(words::kDecided);
    tell_all(fmt::format("{}{}", words::kAbort, why.empty() ? "aborted on request" : why));
    for (const State& state : states_) {
        if (state.member.gate) state.member.session->abort();
    }
}

void Group::tell_all(std::string_view word) {
    for (const State& state : states_) {
        if (state.member.gate) tell(state.member.gate.get(), word);
    }
}

bool Group::all(bool State::* what) const {
    return std::ranges::all_of(states_, [what](const State& state) { return state.*what; });
}

}  // namespace ferry::agent
