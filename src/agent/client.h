// The calling side of the control protocol. Blocking; gRPC stays inside client.cc.
//
// Errors are one clear line. Of a host: what TlsChannel::connect tells (nobody listens, no agent, a
// foreign certificate, ...). Of our own agent: that there is none on the socket. Error::Kind::Peer:
// the agent answered with a refusal.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "agent/orders.h"
#include "agent/session_info.h"
#include "agent/worker_message.h"
#include "base/error.h"
#include "net/tls_channel.h"

namespace grpc {
class ClientContext;
class ServerContext;
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
    // Moves services from there to us and waits for their ends. The end of `caller`, the call that
    // we do it for, aborts it. Gone: nobody here knows the outcome.
    Result<std::vector<SessionInfo>> fetch(const MigrateOrder& order,
                                           const std::string& control_host,
                                           std::uint16_t control_port,
                                           const grpc::ServerContext& caller);
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

// gRPC 1.51 has no setting for the lowest TLS version, but reads the cipher list for TLS 1.2 and
// below from the environment. A list without a usable cipher leaves TLS 1.3 alone. To be called by
// main before there are threads and before the first use of gRPC.
void allow_only_tls13_in_grpc();

// What gRPC says on its own goes to our log: its errors as news, the rest as details.
void route_grpc_log();

}  // namespace ferry::agent
