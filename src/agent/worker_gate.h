// A member's side of its group (migrate/group_gate.h), in the worker.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "agent/group_decision.h"
#include "base/error.h"
#include "migrate/group_gate.h"
#include "net/deadline.h"

namespace ferry::agent {

class WorkerGate final : public migrate::GroupGate {
  public:
    // `gate` leads to the agent; `control` is readable when an end is wished for. Both stay open.
    WorkerGate(int gate, int control, GroupVote vote)
        : gate_(gate), control_(control), vote_(std::move(vote)) {}

    [[nodiscard]] const std::string& decision() const override { return vote_.path(); }
    Result<std::optional<migrate::GroupVerdict>> all_converged(
        const std::optional<migrate::MemberRound>& round,
        std::chrono::milliseconds timeout) override;
    Result<> all_passed(std::chrono::milliseconds lead) override;
    Result<bool> all_frozen(bool here) override;
    Result<> vote(int link_fd) override;
    std::string why_aborted() override;

  private:
    Result<> say(std::string_view word) const;
    // The next word; nothing after the time. Aborted: there will be none.
    Result<std::optional<std::string>> hear(net::Deadline deadline);

    int gate_;
    int control_;
    GroupVote vote_;
    std::string why_;
};

}  // namespace ferry::agent
