#include "agent/server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <future>
#include <iterator>
#include <thread>
#include <utility>

#include "agent/agent.grpc.pb.h"
#include "agent/client.h"
#include "agent/directory.h"
#include "agent/wire_convert.h"
#include "base/check.h"
#include "base/log.h"
#include "os/fd.h"
#include "os/flock.h"

namespace ferry::agent {

using migrate::SessionState;

namespace {

// How often a running call looks whether its caller is still there.
constexpr std::chrono::milliseconds kCallerCheck{50};

// Who follows its group.
constexpr int kFollowAttempts = 10;
constexpr std::chrono::milliseconds kFollowAgain{500};

grpc::Status status_of(const Error& error) {
    switch (error.kind()) {
        case Error::Kind::Invalid:
            return {grpc::StatusCode::INVALID_ARGUMENT, error.message()};
        case Error::Kind::Gone:
            return {grpc::StatusCode::NOT_FOUND, error.message()};
        default:
            return {grpc::StatusCode::FAILED_PRECONDITION, error.message()};
    }
}

// The name in the certificate of a TCP caller. gRPC has verified the certificate itself.
Result<std::string> caller_name(const grpc::ServerContext& context) {
    const auto names = context.auth_context()->FindPropertyValues("x509_common_name");
    if (!context.auth_context()->IsPeerAuthenticated() || names.size() != 1 || names[0].empty()) {
        return fail(Error::peer("the caller's certificate has no name"));
    }
    return std::string(names[0].data(), names[0].size());
}

// "ipv4:10.0.0.1:4711" or "ipv6:%5Bfe80::1%5D:4711" without its port.
std::string caller_host(const grpc::ServerContext& context) {
    std::string peer = context.peer();
    peer.erase(0, peer.find(':') + 1);
    peer.erase(peer.rfind(':'));
    for (const char* bracket : {"%5B", "%5D", "[", "]"}) {
        if (const auto at = peer.find(bracket); at != std::string::npos) {
            peer.erase(at, std::string_view(bracket).size());
        }
    }
    return peer;
}

// Until all have ended, at the destination too. `tell` gets what happens, and says whether somebody
// still listens.
template <class Tell>
std::vector<SessionInfo> watch(Agent& agent, const grpc::ServerContext& context,
                               const std::vector<std::shared_ptr<Session>>& sessions, Tell tell) {
    bool listening = true;
    std::vector<std::uint64_t> seen(sessions.size());
    const std::chrono::milliseconds turn = kCallerCheck / sessions.size();
    for (bool any = true; any;) {
        any = false;
        for (std::size_t i = 0; i < sessions.size(); ++i) {
            Session& session = *sessions[i];
            if (session.finished()) continue;
            any = true;
            if (!listening || context.IsCancelled()) session.abort();
            if (!session.wait_news(seen[i], turn)) continue;
            v1::MigrateEvent event;
            const SessionInfo info = session.info();
            event.set_session(info.id);
            *event.mutable_progress() = to_wire(info.progress);
            listening = listening && tell(event);
        }
    }
    std::vector<SessionInfo> ended;
    for (const auto& session : sessions) {
        agent.settle(*session);
        ended.push_back(session->info());
    }
    return ended;
}

// Moves one session's service once more, by itself. An error: it could not be begun.
template <class Writer>
Result<SessionInfo> send_again(Agent& agent, const grpc::ServerContext& context, MigrateOrder order,
                               const std::string& service, Writer& writer) {
    order.service = service;
    order.others.clear();
    const auto sessions = TRY(agent.migrate(order));
    v1::MigrateEvent started;
    *started.mutable_started() = to_wire(sessions.front()->info());
    writer.Write(started);
    return watch(agent, context, sessions, [&](auto& event) { return writer.Write(event); })
        .front();
}

// A group's decision holds for all. Who has been left behind, because its destination died after
// the decision, goes after the others by itself. What that has left at the destination takes a
// moment to be undone there.
template <class Writer>
void send_after(Agent& agent, const grpc::ServerContext& context, const MigrateOrder& order,
                Writer& writer, std::vector<SessionInfo>& ended) {
    const auto has_gone = [](const SessionInfo& info) { return info.state == SessionState::Done; };
    if (std::ranges::none_of(ended, has_gone)) return;
    for (SessionInfo& info : ended) {
        for (int attempt = 0; attempt < kFollowAttempts; ++attempt) {
            if (info.state != SessionState::Aborted || context.IsCancelled()) break;
            log_info("{} follows its group: {}", info.service, info.error);
            if (attempt > 0) std::this_thread::sleep_for(kFollowAgain);
            auto followed = send_again(agent, context, order, info.service, writer);
            if (!followed) {
                info.error += fmt::format("; it cannot follow: {}", followed.error().message());
                break;
            }
            followed->group = info.group;
            info = std::move(*followed);
        }
    }
}

class ControlService final : public v1::Control::Service {
  public:
    explicit ControlService(Agent& agent) : agent_(agent) {}

    grpc::Status Ping(grpc::ServerContext*, const v1::PingRequest*, v1::PingReply* reply) override {
        *reply = to_wire(agent_.identity());
        return grpc::Status::OK;
    }

    grpc::Status Migrate(grpc::ServerContext* context, const v1::MigrateRequest* request,
                         grpc::ServerWriter<v1::MigrateEvent>* writer) override {
        const auto order = from_wire(*request);
        if (!order) return status_of(order.error());
        const auto sessions = agent_.migrate(*order);
        if (!sessions) return status_of(sessions.error());
        std::future<std::vector<SessionInfo>> coming;
        if (!order->swap.empty()) {
            coming = std::async(std::launch::async, [&] { return agent_.fetch(*order, *context); });
        }
        for (const auto& session : *sessions) {
            v1::MigrateEvent started;
            *started.mutable_started() = to_wire(session->info());
            writer->Write(started);
        }
        std::vector<SessionInfo> ended =
            watch(agent_, *context, *sessions, [&](auto& event) { return writer->Write(event); });
        send_after(agent_, *context, *order, *writer, ended);
        if (coming.valid()) {
            const Session& leaving = *sessions->front();
            while (coming.wait_for(kCallerCheck) != std::future_status::ready) {
                // Whoever wants an end of what leaves means both directions.
                if (!leaving.abort_wished()) continue;
                agent_.abort_coming(*order, leaving.info().destination);
            }
            std::ranges::move(coming.get(), std::back_inserter(ended));
        }
        for (const SessionInfo& info : ended) {
            v1::MigrateEvent last;
            *last.mutable_finished() = to_wire(info);
            writer->Write(last);
        }
        return grpc::Status::OK;
    }

    grpc::Status Status(grpc::ServerContext*, const v1::StatusRequest*,
                        v1::SessionList* reply) override {
        *reply->mutable_agent() = to_wire(agent_.identity());
        return fill(agent_.status(), reply);
    }

    grpc::Status History(grpc::ServerContext*, const v1::HistoryRequest* request,
                         v1::SessionList* reply) override {
        return fill(agent_.history(request->limit()), reply);
    }

    grpc::Status Abort(grpc::ServerContext*, const v1::AbortRequest* request,
                       v1::Session* reply) override {
        const auto ended = agent_.abort(request->session());
        if (!ended) return status_of(ended.error());
        *reply = to_wire(*ended);
        return grpc::Status::OK;
    }

  private:
    static grpc::Status fill(const Result<std::vector<SessionInfo>>& sessions,
                             v1::SessionList* reply) {
        if (!sessions) return status_of(sessions.error());
        for (const SessionInfo& info : *sessions) *reply->add_sessions() = to_wire(info);
        return grpc::Status::OK;
    }

    Agent& agent_;
};

class PeerService final : public v1::Peer::Service {
  public:
    explicit PeerService(Agent& agent) : agent_(agent) {}

    grpc::Status Ping(grpc::ServerContext*, const v1::PingRequest*, v1::PingReply* reply) override {
        *reply = to_wire(agent_.identity());
        return grpc::Status::OK;
    }

    grpc::Status Prepare(grpc::ServerContext* context, const v1::PrepareRequest* request,
                         v1::PrepareReply* reply) override {
        const auto caller = caller_name(*context);
        if (!caller) return status_of(caller.error());
        if (request->control_port() == 0 || request->control_port() > 65535) {
            return {grpc::StatusCode::INVALID_ARGUMENT, "the source's agent names no port"};
        }
        const auto prepared = agent_.prepare(
            {.protocol = request->protocol(),
             .session = request->session(),
             .service = request->service(),
             .source = *caller,
             .control_host =
                 request->control_host().empty() ? caller_host(*context) : request->control_host(),
             .control_port = static_cast<std::uint16_t>(request->control_port()),
             .bridge = request->bridge(),
             .output = request->output()});
        if (!prepared) return status_of(prepared.error());
        reply->set_data_address(prepared->data_address);
        reply->set_data_port(prepared->data_port);
        return grpc::Status::OK;
    }

    grpc::Status Fetch(grpc::ServerContext* context, const v1::FetchRequest* request,
                       v1::SessionList* reply) override {
        const auto caller = caller_name(*context);
        if (!caller) return status_of(caller.error());
        auto order = from_wire(request->order());
        if (!order) return status_of(order.error());
        if (request->control_port() == 0 || request->control_port() > 65535) {
            return {grpc::StatusCode::INVALID_ARGUMENT, "the caller's agent names no port"};
        }
        const net::Endpoint back = {.host = request->control_host().empty()
                                                ? caller_host(*context)
                                                : request->control_host(),
                                    .port = static_cast<std::uint16_t>(request->control_port())};
        order->destination = back.to_string();
        order->destination_name = *caller;
        order->swap.clear();
        const auto sessions = agent_.migrate(*order);
        if (!sessions) return status_of(sessions.error());
        for (const SessionInfo& info :
             watch(agent_, *context, *sessions, [](const auto&) { return true; })) {
            *reply->add_sessions() = to_wire(info);
        }
        return grpc::Status::OK;
    }

    grpc::Status Outcome(grpc::ServerContext* context, const v1::OutcomeRequest* request,
                         v1::OutcomeReply* reply) override {
        return answer(*context, reply, [&](const std::string& caller) {
            return agent_.outcome(request->session(), caller);
        });
    }

    grpc::Status Cancel(grpc::ServerContext* context, const v1::OutcomeRequest* request,
                        v1::OutcomeReply* reply) override {
        return answer(*context, reply, [&](const std::string& caller) {
            return agent_.cancel(request->session(), caller);
        });
    }

  private:
    template <class Ask>
    grpc::Status answer(const grpc::ServerContext& context, v1::OutcomeReply* reply, Ask ask) {
        const auto caller = caller_name(context);
        if (!caller) return status_of(caller.error());
        const Result<migrate::SessionState> state = ask(*caller);
        if (!state) return status_of(state.error());
        reply->set_state(migrate::name_of(*state));
        return grpc::Status::OK;
    }

    Agent& agent_;
};

// The lock beside the socket: who holds it is the agent of this socket. The file is removed at the
// end, while the lock is held; who has opened it before that sees that it is no longer the file of
// that name.
Result<os::UniqueFd> lock_socket(const std::string& socket) {
    const std::string path = socket + ".lock";
    for (;;) {
        os::UniqueFd file = TRY(os::open(path, O_RDWR | O_CREAT, 0600));
        if (!TRY(os::try_flock(file.get()))) {
            return fail(Error::invalid(fmt::format("another agent runs on {}", socket)));
        }
        const auto ours = TRY(os::fstat(file.get()));
        const auto named = os::fstatat(os::kCwd, path);
        if (named && named->st_ino == ours.st_ino && named->st_dev == ours.st_dev) return file;
    }
}

// What stands in the way of the socket: nothing, or the socket of a dead agent (we hold the lock).
Result<> clear_stale_socket(const std::string& path) {
    const auto present = os::fstatat(os::kCwd, path, AT_SYMLINK_NOFOLLOW);
    if (!present && present.error().code() == ENOENT) return {};
    if (!present) return fail(present.error());
    if (!S_ISSOCK(present->st_mode)) {
        return fail(Error::invalid(fmt::format("{} exists and is no socket", path)));
    }
    return os::unlinkat(os::kCwd, path);
}

Result<std::shared_ptr<grpc::ServerCredentials>> tls_credentials(const net::TlsIdentity& keys) {
    // Says what is wrong with the keys; gRPC would not.
    TRY(net::TlsContext::load(keys));
    grpc::SslServerCredentialsOptions options(
        GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_root_certs = TRY(os::read_file(keys.ca));
    options.pem_key_cert_pairs.push_back({.private_key = TRY(os::read_file(keys.key)),
                                          .cert_chain = TRY(os::read_file(keys.certificate))});
    return grpc::SslServerCredentials(options);
}

}  // namespace

struct Server::State {
    explicit State(Agent& agent) : control(agent), peer(agent) {}
    std::string socket;
    os::UniqueFd lock;
    ControlService control;
    PeerService peer;
    std::unique_ptr<grpc::Server> local;
    std::unique_ptr<grpc::Server> remote;
};

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<Server>> Server::start(Agent& agent, const AgentConfig& config) {
    auto state = std::make_unique<State>(agent);
    state->socket = config.socket;
    route_grpc_log();
    if (const auto slash = config.socket.rfind('/'); slash != std::string::npos && slash > 0) {
        TRY(make_directories(config.socket.substr(0, slash)));
    }
    state->lock = TRY(lock_socket(config.socket));
    std::unique_ptr<Server> server(new Server(std::move(state)));
    if (config.listen) {
        grpc::ServerBuilder builder;
        // A second agent on one port would take every other call.
        builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
        int port = 0;
        builder.AddListeningPort(config.listen->to_string(), TRY(tls_credentials(agent.keys())),
                                 &port);
        builder.RegisterService(&server->state_->peer);
        server->state_->remote = builder.BuildAndStart();
        if (server->state_->remote == nullptr || port == 0) {
            return fail(
                Error::invalid(fmt::format("cannot listen on {}", config.listen->to_string())));
        }
        agent.set_control_port(static_cast<std::uint16_t>(port));
        log_info("listening for peers on {}:{}", config.listen->host, port);
    }
    TRY(clear_stale_socket(config.socket));
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + config.socket, grpc::InsecureServerCredentials());
    builder.RegisterService(&server->state_->control);
    const mode_t previous = ::umask(0177);
    server->state_->local = builder.BuildAndStart();
    ::umask(previous);
    if (server->state_->local == nullptr) {
        return fail(Error::invalid(fmt::format("cannot listen on {}", config.socket)));
    }
    return server;
}

void Server::stop() {
    // Sessions have ended, so what still runs are answers on their way. gRPC also waits for idle
    // clients to hang up, which they may not notice.
    const auto deadline = std::chrono::system_clock::now() + std::chrono::milliseconds(300);
    if (state_->remote != nullptr) state_->remote->Shutdown(deadline);
    if (state_->local != nullptr) state_->local->Shutdown(deadline);
}

Server::~Server() {
    stop();
    state_->remote.reset();
    state_->local.reset();
    forget_socket();
}

void Server::forget_socket() {
    // Whether gRPC has removed it already does not matter; the lock is still ours.
    std::ignore = os::unlinkat(os::kCwd, state_->socket);
    std::ignore = os::unlinkat(os::kCwd, state_->socket + ".lock");
}

}  // namespace ferry::agent
