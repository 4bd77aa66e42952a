// The members of a group of this agent's that come here from the other host meanwhile: its agent
// runs their sessions, their words cross over one call (PeerClient::fetch), and to the group each
// is a gate like any other's.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "agent/client.h"
#include "agent/gate_relay.h"
#include "agent/group.h"
#include "agent/group_member.h"
#include "base/error.h"
#include "os/fd.h"

namespace ferry::agent {

class FarSession final : public GroupMember {
  public:
    // `gate` is the group's end of its own.
    FarSession(SessionInfo info, os::UniqueFd gate)
        : gate_(std::move(gate)), info_(std::move(info)) {}

    [[nodiscard]] SessionInfo info() const override;
    [[nodiscard]] bool finished() const override;
    void abort() override;
    bool wait_news(std::uint64_t& seen, std::chrono::milliseconds timeout) override;
    std::string why_ended() override;

    // What has come from there.
    void take(const FetchEvent& event);
    // Nothing more comes from there.
    void lose(const std::string& why);
    // Its end, as far as that can be known.
    void finish(SessionInfo info);

  private:
    const os::UniqueFd gate_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    SessionInfo info_;
    std::uint64_t news_ = 0;
    bool finished_ = false;
    bool is_lost_ = false;
    bool abort_wished_ = false;
};

// The destructor ends the call, and waits for that. Thread-safe.
class FarSessions {
  public:
    // What became of one whose agent has gone: the other half of its session is here.
    using Conclude = std::function<SessionInfo(SessionInfo)>;
    // Waits until `count` of them have been started.
    static Result<std::unique_ptr<FarSessions>> begin(std::unique_ptr<FetchStream> stream,
                                                      std::size_t count, Conclude conclude);
    FarSessions(const FarSessions&) = delete;
    FarSessions& operator=(const FarSessions&) = delete;
    ~FarSessions();

    // For the group. To be called once.
    [[nodiscard]] std::vector<Group::Member> take_members();
    [[nodiscard]] const std::vector<std::shared_ptr<FarSession>>& all() const { return sessions_; }
    // All have ended.
    [[nodiscard]] bool finished() const { return finished_; }

  private:
    FarSessions(std::unique_ptr<FetchStream> stream, Conclude conclude)
        : stream_(std::move(stream)), conclude_(std::move(conclude)) {}
    void run();
    void take(const FetchEvent& event);

    const std::unique_ptr<FetchStream> stream_;
    const Conclude conclude_;
    std::vector<std::shared_ptr<FarSession>> sessions_;
    std::vector<os::UniqueFd> gates_;  // the group's ends, until it has them
    std::unique_ptr<GateRelay> relay_;
    std::atomic<bool> finished_ = false;
    std::thread thread_;
};

}  // namespace ferry::agent
