// A member's side of its group (migrate/group_gate.h), in the worker. Where the decision is kept by
// this host's agent the worker reads it in the journal; where by the other's, it asks.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "agent/group_decision.h"
#include "base/error.h"
#include "migrate/group_gate.h"
#include "net/deadline.h"

namespace ferry::agent {

class WorkerGate : public migrate::GroupGate {
  public:
    // `gate` leads to the agent; `control` is readable when an end is wished for. Both stay open.
    WorkerGate(int gate, int control) : gate_(gate), control_(control) {}

    Result<std::optional<migrate::GroupVerdict>> all_converged(
        const std::optional<migrate::MemberRound>& round,
        std::chrono::milliseconds timeout) override;
    Result<> all_passed(std::chrono::milliseconds lead) override;
    Result<bool> all_frozen(bool here) override;
    std::string why_aborted() override;

  protected:
    Result<> say(std::string_view word) const;
    // Until there is a word, a wish for an end, or an end of the link, or the time is over.
    struct Heard {
        bool decided = false;  // by a word: to go
        bool link_ended = false;
        bool alone = false;  // nobody will say anything here, or an end is wished for
    };
    Heard await_decision(int link_fd, net::Deadline deadline);
    [[nodiscard]] Error aborted(bool link_ended);

  private:
    // The next word; nothing after the time. Aborted: there will be none.
    Result<std::optional<std::string>> hear(net::Deadline deadline);
    // What there is to hear just now.
    void listen();

    int gate_;
    int control_;
    std::string why_;
    bool decided_ = false, closed_ = false;
};

class WorkerGateHere final : public WorkerGate {
  public:
    WorkerGateHere(int gate, int control, GroupVote vote)
        : WorkerGate(gate, control), vote_(std::move(vote)) {}
    [[nodiscard]] const std::string& decision() const override { return vote_.path(); }
    Result<> vote(int link_fd) override;

  private:
    GroupVote vote_;
};

class WorkerGateThere final : public WorkerGate {
  public:
    // Asks the other agent, which decides against the group if the worker gives up and nothing is
    // decided. Nothing: not yet.
    using Ask = std::function<Result<std::optional<GroupDecision>>(bool give_up)>;
    // Notes, before it is said, that only the decision counts from here on.
    using Record = std::function<Result<>()>;
    WorkerGateThere(int gate, int control, Record record, Ask ask)
        : WorkerGate(gate, control), record_(std::move(record)), ask_(std::move(ask)) {}
    [[nodiscard]] const std::string& decision() const override { return nowhere_; }
    Result<> vote(int link_fd) override;

  private:
    Record record_;
    Ask ask_;
    std::string nowhere_;
};

}  // namespace ferry::agent
