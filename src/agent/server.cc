#include "agent/server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <functional>
#include <future>
#include <mutex>
#include <span>
#include <thread>
#include <utility>

#include "agent/agent.grpc.pb.h"
#include "agent/client.h"
#include "agent/directory.h"
#include "agent/gate_relay.h"
#include "agent/group_words.h"
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

constexpr int kKeepaliveMs = 10'000;

// For how long the end of a call that has been told all is waited for.
constexpr std::chrono::seconds kLastWord{10};

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

using Sessions = std::vector<std::shared_ptr<GroupMember>>;

// Whom to tell of the sessions of a call, each by its place in the order.
struct Listener {
    std::function<void(std::size_t, const SessionInfo&)> started;
    // False: nobody listens any more.
    std::function<bool(std::size_t, const SessionInfo&)> progress;
};

// Until all have ended, at the destination too. They are from the place `first` on.
std::vector<SessionInfo> watch(Agent& agent, const grpc::ServerContext& context,
                               const Sessions& sessions, const Listener& listener,
                               std::size_t first = 0) {
    bool listening = true;
    std::vector<std::uint64_t> seen(sessions.size());
    const std::chrono::milliseconds turn = kCallerCheck / sessions.size();
    for (bool any = true; any;) {
        any = false;
        for (std::size_t i = 0; i < sessions.size(); ++i) {
            GroupMember& session = *sessions[i];
            if (session.finished()) continue;
            any = true;
            if (!listening || context.IsCancelled()) session.abort();
            if (!session.wait_news(seen[i], turn)) continue;
            listening = listening && listener.progress(first + i, session.info());
        }
    }
    std::vector<SessionInfo> ended;
    for (const auto& session : sessions) {
        agent.settle(session->info());
        ended.push_back(session->info());
    }
    return ended;
}

// Moves the session's service once more, by itself. An error: it could not be begun.
Result<SessionInfo> send_again(Agent& agent, const grpc::ServerContext& context, MigrateOrder order,
                               std::size_t place, const std::string& service,
                               const Listener& listener) {
    order.service = service;
    order.others.clear();
    order.swap.clear();
    const Sessions sessions = TRY(agent.migrate(order)).sessions;
    listener.started(place, sessions.front()->info());
    return watch(agent, context, sessions, listener, place).front();
}

// A group's decision holds for all. Who has been left behind, because its destination died after
// the decision, goes after the others by itself. What that has left at the destination takes a
// moment to be undone there.
void send_after(Agent& agent, const grpc::ServerContext& context, const MigrateOrder& order,
                const Listener& listener, std::span<SessionInfo> ended) {
    for (std::size_t i = 0; i < ended.size(); ++i) {
        SessionInfo& info = ended[i];
        for (int attempt = 0; attempt < kFollowAttempts; ++attempt) {
            if (info.state != SessionState::Aborted || context.IsCancelled()) break;
            log_info("{} follows its group: {}", info.service, info.error);
            if (attempt > 0) std::this_thread::sleep_for(kFollowAgain);
            auto followed = send_again(agent, context, order, i, info.service, listener);
            if (!followed) {
                info.error += fmt::format("; it cannot follow: {}", followed.error().message());
                break;
            }
            followed->group = info.group;
            info = std::move(*followed);
        }
    }
}

// The members that a group of another agent's has here: their words go through its call, back and
// forth, and so does what else happens to them.
class FetchCall {
  public:
    using Stream = grpc::ServerReaderWriter<v1::FetchEvent, v1::FetchRequest>;
    FetchCall(Stream& stream, Agent::Fetched fetched)
        : stream_(stream), sessions_(std::move(fetched.sessions)) {
        for (std::size_t i = 0; i < sessions_.size(); ++i) started(i, sessions_[i]->info());
        relay_ = std::make_unique<GateRelay>(
            std::move(fetched.gates),
            [this](std::size_t member, std::string_view word) { bring(member, word); });
        reading_ = std::async(std::launch::async, [this] { read(); });
    }
    FetchCall(const FetchCall&) = delete;
    FetchCall& operator=(const FetchCall&) = delete;
    ~FetchCall() = default;

    [[nodiscard]] const Sessions& sessions() const { return sessions_; }
    // The group was to go, as far as we have heard.
    [[nodiscard]] bool committed() const { return committed_; }
    void started(std::size_t member, const SessionInfo& info) {
        write({.kind = FetchEvent::Kind::Started, .member = member, .session = info});
    }
    bool progress(std::size_t member, const SessionInfo& info) {
        return write(
            {.kind = FetchEvent::Kind::Progress, .member = member, .progress = info.progress});
    }
    // The caller has heard of it when it has ended its half.
    void finish(const std::vector<SessionInfo>& ended, grpc::ServerContext& context) {
        for (std::size_t i = 0; i < ended.size(); ++i) {
            write({.kind = FetchEvent::Kind::Finished, .member = i, .session = ended[i]});
        }
        if (reading_.wait_for(kLastWord) != std::future_status::ready) context.TryCancel();
        reading_.wait();
    }

  private:
    bool write(const FetchEvent& event) {
        const std::lock_guard lock(writing_);
        return stream_.Write(to_wire(event));
    }
    void bring(std::size_t member, std::string_view word) {
        FetchEvent event = {.member = member, .word = std::string(word)};
        if (word.empty()) event.why = sessions_[member]->why_ended();
        write(event);
    }
    void read() {
        v1::FetchRequest request;
        while (stream_.Read(&request)) {
            const std::size_t member = request.word().member();
            const std::string& word = request.word().word();
            if (member >= sessions_.size()) continue;
            if (word == words::kDecided) committed_ = true;
            if (word != words::kWish) relay_->hear(member, word);
            if (word == words::kWish || word.starts_with(words::kAbort)) sessions_[member]->abort();
        }
        relay_->close_all();
        for (const auto& session : sessions_) session->abort();
    }

    Stream& stream_;
    std::mutex writing_;
    const Sessions sessions_;
    std::atomic<bool> committed_ = false;
    std::unique_ptr<GateRelay> relay_;
    std::future<void> reading_;
};

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
        const auto begun = agent_.migrate(*order);
        if (!begun) return status_of(begun.error());
        const Listener listener = {.started =
                                       [&](std::size_t, const SessionInfo& info) {
                                           v1::MigrateEvent event;
                                           *event.mutable_started() = to_wire(info);
                                           writer->Write(event);
                                       },
                                   .progress =
                                       [&](std::size_t, const SessionInfo& info) {
                                           v1::MigrateEvent event;
                                           event.set_session(info.id);
                                           *event.mutable_progress() = to_wire(info.progress);
                                           return writer->Write(event);
                                       }};
        for (std::size_t i = 0; i < begun->sessions.size(); ++i) {
            listener.started(i, begun->sessions[i]->info());
        }
        std::vector<SessionInfo> ended = watch(agent_, *context, begun->sessions, listener);
        const bool has_gone = std::ranges::any_of(
            ended, [](const SessionInfo& info) { return info.state == SessionState::Done; });
        if (has_gone && begun->group != nullptr && begun->group->committed()) {
            const std::size_t leaving = 1 + order->others.size();
            send_after(agent_, *context, *order, listener, std::span(ended).first(leaving));
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
             .output = request->output(),
             .console_socket = request->console_socket(),
             .group = request->group(),
             .decided_here = request->decided_here()});
        if (!prepared) return status_of(prepared.error());
        reply->set_data_address(prepared->data_address);
        reply->set_data_port(prepared->data_port);
        return grpc::Status::OK;
    }

    grpc::Status Fetch(grpc::ServerContext* context, FetchCall::Stream* stream) override {
        const auto caller = caller_name(*context);
        if (!caller) return status_of(caller.error());
        v1::FetchRequest first;
        if (!stream->Read(&first)) return {grpc::StatusCode::INVALID_ARGUMENT, "there is no order"};
        auto order = from_wire(first);
        if (!order) return status_of(order.error());
        if (order->control_host.empty()) order->control_host = caller_host(*context);
        auto fetched = agent_.fetch(*order, *caller);
        if (!fetched) return status_of(fetched.error());
        FetchCall call(*stream, std::move(*fetched));
        const Listener listener = {
            .started = [&](std::size_t i, const SessionInfo& info) { call.started(i, info); },
            .progress = [&](std::size_t i,
                            const SessionInfo& info) { return call.progress(i, info); }};
        std::vector<SessionInfo> ended = watch(agent_, *context, call.sessions(), listener);
        if (call.committed()) {
            order->order.destination =
                net::Endpoint{.host = order->control_host, .port = order->control_port}.to_string();
            order->order.destination_name = *caller;
            send_after(agent_, *context, order->order, listener, ended);
        }
        call.finish(ended, *context);
        return grpc::Status::OK;
    }

    grpc::Status Decide(grpc::ServerContext* context, const v1::DecideRequest* request,
                        v1::DecideReply* reply) override {
        const auto caller = caller_name(*context);
        if (!caller) return status_of(caller.error());
        const auto decision = agent_.decide(request->group(), request->give_up(), *caller);
        if (!decision) return status_of(decision.error());
        if (*decision) reply->set_decision(name_of(**decision));
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
        // Callers look whether we are there, and we whether they are.
        builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                                   kKeepaliveMs / 2);
        builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
        builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
        builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
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
