// The calling side of the control protocol. Blocking; gRPC stays inside client.cc.
//
// Errors are one clear line. Of a host: what TlsChannel::connect tells (nobody listens, no agent, a
// foreign certificate, ...). Of our own agent: that there is none on the socket. Error::Kind::Peer:
// the agent answered with a refusal.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "agent/group_decision.h"
#include "agent/orders.h"
#include "agent/session_info.h"
#include "agent/worker_message.h"
#include "base/error.h"
#include "net/tls_channel.h"

namespace grpc {
class ClientContext;
}  // namespace grpc

namespace ferry::agent {

// To the agent of this host, over its Unix socket. One call at a time, but abort() and cancel() may
// be called from another thread while migrate() runs.
class ControlClient {
  public:
    static Result<ControlClient> connect(const std::string& socket);
    ControlClient(ControlClient&&) noexcept;
    ControlClient& operator=(ControlClient&&) noexcept;
    ~ControlClient();

    Result<AgentIdentity> ping();
    // `started` is called once with each new session, `progress` as one goes on. Returns their
    // ends, which may be failures (SessionInfo::error), in the order of the order. An Error means
    // that no session ever began, or (Gone) that the agent died and nobody here knows the outcome.
    struct Watcher {
        std::function<void(const SessionInfo&)> started;
        std::function<void(const std::string& session, const migrate::Progress&)> progress;
    };
    Result<std::vector<SessionInfo>> migrate_group(const MigrateOrder& order,
                                                   const Watcher& watcher);
    // The same without others.
    Result<SessionInfo> migrate(const MigrateOrder& order, const Watcher& watcher);
    struct Sessions {
        AgentIdentity agent;
        std::vector<SessionInfo> sessions;
    };
    Result<Sessions> status();
    Result<std::vector<SessionInfo>> history(unsigned limit);
    // Returns the session as it ended.
    Result<SessionInfo> abort(const std::string& session);
    // Ends a migrate() without waiting for its session, which the agent aborts.
    void cancel();

  private:
    struct State;
    void set_migrating(grpc::ClientContext* context);
    explicit ControlClient(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// What the other agent says of sessions that it runs for us, and we to them: one reader and one
// writer, two threads; cancel() from any. The destructor ends the call.
class FetchStream {
  public:
    struct State;
    explicit FetchStream(std::unique_ptr<State> state);
    FetchStream(const FetchStream&) = delete;
    FetchStream& operator=(const FetchStream&) = delete;
    ~FetchStream();

    // Nothing: the other agent has said all. An error: it has refused, or nobody here knows what
    // became of the rest (Gone).
    Result<std::optional<FetchEvent>> read();
    // An empty word closes the member's gate. What cannot be said any more is dropped.
    void say(std::size_t member, std::string_view word);
    // Nothing more will be said.
    void end();
    void cancel();

  private:
    std::unique_ptr<State> state_;
};

// To the agent of another host, over TCP with mutual TLS 1.3.
class PeerClient {
  public:
    // Probes the connection, so that later calls fail only for what they are about.
    static Result<PeerClient> connect(const net::TlsIdentity& identity, const PeerAgent& peer,
                                      net::Deadline deadline);
    PeerClient(PeerClient&&) noexcept;
    PeerClient& operator=(PeerClient&&) noexcept;
    ~PeerClient();

    // The common name of its certificate: what it is called, however it was reached.
    [[nodiscard]] const std::string& name() const;
    Result<AgentIdentity> ping();
    Result<Prepared> prepare(const PrepareOrder& order);
    // Moves services from there to us. The end of the stream aborts what is not decided.
    [[nodiscard]] std::unique_ptr<FetchStream> fetch(const FetchOrder& order);
    // What the agent there, which keeps the group's decision, has decided. Nothing: not yet; where
    // `give_up` is set the group is aborted then.
    Result<std::optional<GroupDecision>> decide(const std::string& group, bool give_up);
    Result<migrate::SessionState> outcome(const std::string& session);
    Result<migrate::SessionState> cancel(const std::string& session);

  private:
    struct State;
    explicit PeerClient(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// For `ferryd query-outcome CA CERTIFICATE KEY HOST PORT NAME SESSION`: prints the state's name, or
// why there is none. Returns the exit status.
int run_outcome_query(const std::vector<std::string>& arguments);

// The same with a group in the place of the session: prints "commit", "abort" or "undecided".
int run_decision_query(const std::vector<std::string>& arguments, bool give_up);

// gRPC 1.51 has no setting for the lowest TLS version, but reads the cipher list for TLS 1.2 and
// below from the environment. A list without a usable cipher leaves TLS 1.3 alone. To be called by
// main before there are threads and before the first use of gRPC.
void allow_only_tls13_in_grpc();

// What gRPC says on its own goes to our log: its errors as news, the rest as details.
void route_grpc_log();

}  // namespace ferry::agent
