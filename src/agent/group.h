// The sessions of one `ferry migrate a b c`, as their agent coordinates them: frozen in one moment,
// committed by one decision (docs/decisions/0024). The agent may die at any time: members then
// decide against the group where nothing is decided (agent/worker_gate.h). Some of them may be
// sessions of the other host, which come here meanwhile (docs/decisions/0043).
//
// A thread of its own listens to the members. Thread-safe. The destructor waits for the end of all.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "agent/group_decision.h"
#include "agent/group_member.h"
#include "base/error.h"
#include "migrate/group_convergence.h"
#include "migrate/group_gate.h"
#include "migrate/no_convergence.h"
#include "os/fd.h"

namespace ferry::agent {

class Group {
  public:
    struct Member {
        std::shared_ptr<GroupMember> session;
        os::UniqueFd gate;  // our end
    };
    // What of the order holds for all together.
    struct Limits {
        pages::ConvergenceLimits convergence = {};
        migrate::OnNoConvergence on_no_convergence = migrate::OnNoConvergence::StopCopy;
    };
    Group(GroupVote vote, const Limits& limits, std::vector<Member> members);
    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;
    ~Group();

    // Every worker has ended.
    [[nodiscard]] bool finished() const { return finished_; }
    // They were to go.
    [[nodiscard]] bool committed() const { return committed_; }

  private:
    enum class Phase { Converging, Passing, Freezing, Voting, Decided };
    struct State {
        Member member;
        bool ready = false;
        bool passed = false;
        std::chrono::milliseconds lead{0};  // see GroupGate::all_passed()
        bool frozen = false;
        bool busy = false;  // could not be frozen
        bool voted = false;
    };
    void run();
    void hear(State& from);
    void take(State& from, std::string_view word);
    void hear_round(State& from, std::string_view word);
    void advance();
    // All are ready: what they do next, by what they have left together.
    void judge();
    migrate::GroupVerdict verdict(const pages::Decision& decision);
    void start_freeze();
    void end_attempt();
    void decide(GroupDecision proposal, const std::string& why);
    void tell_all(std::string_view word);
    [[nodiscard]] bool all(bool State::* what) const;

    const GroupVote vote_;
    const Limits limits_;
    std::vector<State> states_;
    migrate::GroupConvergence convergence_;
    migrate::GroupVerdict verdict_;  // the latest
    Phase phase_ = Phase::Converging;
    std::atomic<bool> finished_ = false, committed_ = false;
    std::thread thread_;
};

}  // namespace ferry::agent
