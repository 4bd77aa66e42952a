// The agent's decisions, without the transport: which sessions there are, who may do what.
// Thread-safe; calls come from gRPC's threads.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "agent/client.h"
#include "agent/far_sessions.h"
#include "agent/group.h"
#include "agent/history.h"
#include "agent/orders.h"
#include "agent/session.h"
#include "agent/session_store.h"
#include "base/error.h"
#include "container/runtime.h"
#include "net/tls_channel.h"

namespace ferry::agent {

struct AgentConfig {
    std::string name;  // of this host: common name of its certificate, stem of its key files
    std::string socket = kControlSocket;
    std::string state_directory = "/var/lib/ferry";
    std::string pki_directory = "/etc/ferry/pki";
    std::optional<net::Endpoint> listen;  // TCP control; without it there are no migrations
    std::string advertise;  // where peers reach this host; empty: where their connection went to
    std::string uplink;     // Placement::uplink
    std::string runtime_root = container::kRuncRoot;  // where runc keeps the states of containers
    int log_level = 3;
};

class Agent {
  public:
    // Opens the state directory and takes over what an earlier agent left in it.
    static Result<std::unique_ptr<Agent>> create(const AgentConfig& config);
    Agent(const Agent&) = delete;
    Agent& operator=(const Agent&) = delete;
    ~Agent();

    [[nodiscard]] AgentIdentity identity() const;
    [[nodiscard]] net::TlsIdentity keys() const;
    // The port where peers ask; known only after the server has bound it.
    void set_control_port(std::uint16_t port) { control_port_ = port; }

    // Starts the source's halves after the destination has agreed to its own: one session, or those
    // of a group, in the order of the order; those that come from the other host last.
    struct Begun {
        std::vector<std::shared_ptr<GroupMember>> sessions;
        std::shared_ptr<const Group> group;  // none: one session of its own
    };
    Result<Begun> migrate(const MigrateOrder& order);
    // The same for a group that `caller`, an agent, keeps. Its words go through the gates.
    struct Fetched {
        std::vector<std::shared_ptr<GroupMember>> sessions;
        std::vector<os::UniqueFd> gates;
    };
    Result<Fetched> fetch(FetchOrder order, const std::string& caller);
    // After the end of a session that one of these has started: one of ours that was given up is
    // given up at the destination as well, which may still wait for a first connection. Best
    // effort, some seconds at most; a destination that cannot be reached gives up by itself.
    void settle(const SessionInfo& info);
    // Starts the destination's half. `called_at` is the address that the peer has called.
    Result<Prepared> prepare(const PrepareOrder& order);
    // For the peer named in a certificate: what became of a session between it and us. Unknown
    // where there is none.
    Result<migrate::SessionState> outcome(const std::string& id, const std::string& peer);
    // For a peer with members of a group that is kept here: what is decided. Nothing: not yet;
    // where `give_up` is set the group is aborted then. One that nobody here knows any more is
    // aborted: none of its members can run here (docs/decisions/0043).
    Result<std::optional<GroupDecision>> decide(const std::string& group, bool give_up,
                                                const std::string& peer);
    // The peer gives up a session that it has prepared here.
    Result<migrate::SessionState> cancel(const std::string& id, const std::string& peer);
    // By the beginning of an id, its own or its group's, and all of its group with it. Returns one
    // session as it ended.
    Result<SessionInfo> abort(const std::string& beginning);
    Result<std::vector<SessionInfo>> status();
    Result<std::vector<SessionInfo>> history(unsigned limit) { return history_->recent(limit); }

    // Forgets sessions that have ended and concludes those of an earlier agent. To be called each
    // second.
    void tick();
    // Asks the destinations of sessions whose outcome is unknown, an earlier agent's among them,
    // and concludes what they know: each after a second at first, then ever more rarely. To be
    // called after tick(), by the same thread; takes two seconds for each destination that is
    // silent.
    void ask_outcomes();
    // Refuses what is new and aborts what runs; idle() tells when all of it has ended.
    void begin_shut_down();
    [[nodiscard]] bool idle();

  private:
    explicit Agent(AgentConfig config, SessionStore store, std::unique_ptr<History> history)
        : config_(std::move(config)), store_(std::move(store)), history_(std::move(history)) {}
    Result<> add(const std::shared_ptr<Session>& session);
    [[nodiscard]] std::shared_ptr<Session> find(const std::string& id);
    [[nodiscard]] std::vector<std::shared_ptr<Session>> sessions();
    Result<std::optional<SessionInfo>> known(const std::string& id);
    [[nodiscard]] WorkerSetup new_setup(Role role) const;
    Result<WorkerSetup> plan_source(const MigrateOrder& order, const std::string& service);
    // What of a session there is at the destination.
    struct Planned {
        WorkerSetup setup;
        PeerClient peer;
    };
    Result<Planned> prepare_peer(const MigrateOrder& order, WorkerSetup setup);
    static void cancel_peer(Planned& planned);
    // All or none: what has been prepared is cancelled.
    Result<std::vector<Planned>> plan_all(const MigrateOrder& order, const std::string& group,
                                          bool decided_at_peer);
    // Gates are null where there is no group.
    Result<std::vector<Group::Member>> start_all(std::vector<Planned>& planned);
    Result<std::shared_ptr<FarSessions>> begin_swap(const MigrateOrder& order,
                                                    const std::string& group);
    SessionInfo conclude_far(SessionInfo info);
    Result<> forget_decisions();
    Result<> check_room(std::size_t count = 1);
    Result<bool> ask_outcome(const SessionInfo& info);

    const AgentConfig config_;
    const SessionStore store_;
    const std::unique_ptr<History> history_;
    std::uint16_t control_port_ = 0;
    std::mutex mutex_;
    bool closing_ = false;
    std::map<std::string, std::shared_ptr<Session>> sessions_;
    std::vector<std::shared_ptr<Group>> groups_;
    std::vector<std::shared_ptr<FarSessions>> far_;  // ends first: groups wait for them
    // Of ask_outcomes(), which has no lock.
    struct Question {
        std::chrono::steady_clock::time_point due;
        std::chrono::seconds pause{1};
    };
    std::map<std::string, Question> questions_;
};

}  // namespace ferry::agent
