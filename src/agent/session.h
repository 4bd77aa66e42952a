// One session of an agent: its worker process and what that has said so far. Owned by the agent's
// table and by the calls that watch it. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "agent/group_member.h"
#include "agent/history.h"
#include "agent/session_info.h"
#include "agent/session_store.h"
#include "agent/worker_message.h"
#include "base/error.h"
#include "os/fd.h"

namespace ferry::agent {

class Session final : public GroupMember {
  public:
    // Records the session, starts its worker and a thread that listens to it. `store` and `history`
    // outlive the session. `gate` becomes the worker's way to its group; -1: it is in none.
    static Result<std::shared_ptr<Session>> start(const WorkerSetup& setup,
                                                  const SessionStore& store, History& history,
                                                  int gate = -1);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    // The session must have ended, or is waited for.
    ~Session() override;

    [[nodiscard]] SessionInfo info() const override;
    [[nodiscard]] bool finished() const override;
    void abort() override;
    bool wait_news(std::uint64_t& seen, std::chrono::milliseconds timeout) override;
    std::string why_ended() override;
    // False if it has not ended in that time.
    bool wait_finished(std::chrono::milliseconds timeout);
    // The destination's data port, once its worker listens; an error if it ends before that.
    Result<std::uint16_t> wait_port(std::chrono::milliseconds timeout);

  private:
    Session(const WorkerSetup& setup, const SessionStore& store, History& history)
        : info_(setup.info), store_(store), history_(history) {}
    void listen();
    void take(const WorkerEvent& event);
    void conclude();

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    SessionInfo info_;
    std::uint64_t news_ = 0;
    std::optional<std::uint16_t> port_;
    bool finished_ = false;
    bool abort_wished_ = false;
    const SessionStore& store_;
    History& history_;
    os::UniqueFd control_;
    Pid worker_;
    std::thread listener_;
};

// The final word on a session whose worker is dead: what its file says, with "undecided" turned
// into "aborted", or into what its group has decided, moved into the history. The store's files are
// removed; but where the outcome is unknown they stay, until settle_outcome().
Result<SessionInfo> conclude_session(const SessionInfo& last_known, const SessionStore& store,
                                     History& history);

// What the destination's agent answered about a session of unknown outcome. Running, Done, Aborted
// and Unknown conclude it; after anything else it stays as it was, and nothing is returned.
Result<std::optional<SessionInfo>> settle_outcome(SessionInfo info, migrate::SessionState answer,
                                                  const SessionStore& store, History& history);

}  // namespace ferry::agent
