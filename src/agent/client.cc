#include "agent/client.h"

#include <fmt/format.h>
#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "agent/agent.grpc.pb.h"
#include "agent/wire_convert.h"
#include "base/check.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "os/inet.h"
#include "os/socket.h"

namespace ferry::agent {
namespace {

// Calls that only ask. Prepare starts a worker, Abort waits for a roll-back.
constexpr std::chrono::seconds kAskTimeout{5};
constexpr std::chrono::seconds kPrepareTimeout{15};

constexpr int kKeepaliveMs = 10'000;

void set_timeout(grpc::ClientContext& context, std::chrono::seconds timeout) {
    context.set_deadline(std::chrono::system_clock::now() + timeout);
}

Error error_of(const grpc::Status& status, const std::string& whom) {
    switch (status.error_code()) {
        case grpc::StatusCode::UNAVAILABLE:
            return Error::gone(fmt::format("{}: the agent is gone", whom));
        case grpc::StatusCode::DEADLINE_EXCEEDED:
            return Error::system(ETIMEDOUT, fmt::format("{}: no answer", whom));
        case grpc::StatusCode::UNIMPLEMENTED:
            return Error::peer(
                fmt::format("{}: it does not know this call; another version?", whom));
        case grpc::StatusCode::CANCELLED:
            return Error::aborted("cancelled");
        case grpc::StatusCode::INVALID_ARGUMENT:
            return Error::invalid(status.error_message());
        default:
            return Error::peer(fmt::format("{}: {}", whom, status.error_message()));
    }
}

// Of our own agent: its refusals need no address in front.
Error control_error(const grpc::Status& status, const std::string& socket) {
    switch (status.error_code()) {
        case grpc::StatusCode::FAILED_PRECONDITION:
        case grpc::StatusCode::NOT_FOUND:
            return Error::peer(status.error_message());
        default:
            return error_of(status, socket);
    }
}

grpc::ChannelArguments channel_arguments() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    // Each client has a connection of its own, which ends with it.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return arguments;
}

// Tells an agent that is not there from one that we may not ask, before gRPC wraps it in its own
// words.
Result<> check_socket(const std::string& path) {
    os::SocketAddress address;
    auto* unix_address = reinterpret_cast<sockaddr_un*>(&address.storage);
    unix_address->sun_family = AF_UNIX;
    if (path.size() >= sizeof(unix_address->sun_path)) {
        return fail(Error::invalid(fmt::format("{}: too long for a socket", path)));
    }
    std::memcpy(unix_address->sun_path, path.c_str(), path.size() + 1);
    address.size = sizeof(sockaddr_un);
    const os::UniqueFd socket = TRY(os::socket(AF_UNIX, SOCK_STREAM, 0));
    const auto connected = os::connect(socket.get(), address);
    if (connected) return {};
    const int code = connected.error().code();
    if (code == ENOENT || code == ECONNREFUSED) {
        return fail(Error::system(code, fmt::format("no agent on {} (is ferryd running?)", path)));
    }
    return fail(Error::system(code, path));
}

}  // namespace

void allow_only_tls13_in_grpc() {
    // Neither side of ours has a pre-shared key, so no connection can use this.
    ::setenv("GRPC_SSL_CIPHER_SUITES", "PSK-AES256-GCM-SHA384", 1);
}

void route_grpc_log() {
    gpr_set_log_function([](gpr_log_func_args* line) {
        log(line->severity == GPR_LOG_SEVERITY_ERROR ? LogLevel::Info : LogLevel::Debug, "grpc: {}",
            line->message);
    });
}

struct ControlClient::State {
    std::string socket;
    std::unique_ptr<v1::Control::Stub> stub;
    std::mutex mutex;
    grpc::ClientContext* migrating = nullptr;  // of the migrate() that runs
};

ControlClient::ControlClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
ControlClient::ControlClient(ControlClient&&) noexcept = default;
ControlClient& ControlClient::operator=(ControlClient&&) noexcept = default;
ControlClient::~ControlClient() = default;

Result<ControlClient> ControlClient::connect(const std::string& socket) {
    TRY(check_socket(socket));
    route_grpc_log();
    auto state = std::make_unique<State>();
    state->socket = socket;
    const auto channel = grpc::CreateCustomChannel(
        "unix:" + socket, grpc::InsecureChannelCredentials(), channel_arguments());
    state->stub = v1::Control::NewStub(channel);
    return ControlClient(std::move(state));
}

Result<AgentIdentity> ControlClient::ping() {
    grpc::ClientContext context;
    set_timeout(context, kAskTimeout);
    v1::PingReply reply;
    const auto status = state_->stub->Ping(&context, v1::PingRequest(), &reply);
    if (!status.ok()) return fail(control_error(status, state_->socket));
    return from_wire(reply);
}

Result<SessionInfo> ControlClient::migrate(const MigrateOrder& order, const Watcher& watcher) {
    CHECK(order.others.empty() && order.swap.empty());
    std::vector<SessionInfo> ended = TRY(migrate_group(order, watcher));
    return std::move(ended.front());
}

Result<std::vector<SessionInfo>> ControlClient::migrate_group(const MigrateOrder& order,
                                                              const Watcher& watcher) {
    const v1::MigrateRequest request = to_wire(order);
    grpc::ClientContext context;
    set_migrating(&context);
    const Cleanup forget_context = [&] { set_migrating(nullptr); };
    const auto stream = state_->stub->Migrate(&context, request);
    std::vector<SessionInfo> ended;
    v1::MigrateEvent event;
    while (stream->Read(&event)) {
        if (event.has_started()) {
            watcher.started(TRY(from_wire(event.started())));
        } else if (event.has_progress()) {
            watcher.progress(event.session(), from_wire(event.progress()));
        } else if (event.has_finished()) {
            ended.push_back(TRY(from_wire(event.finished())));
        }
    }
    const auto status = stream->Finish();
    const std::size_t expected = 1 + order.others.size() + order.swap.size();
    if (ended.size() == expected) return ended;
    if (status.ok()) return fail(Error::peer("the agent said nothing of the session's end"));
    return fail(control_error(status, state_->socket));
}

void ControlClient::set_migrating(grpc::ClientContext* context) {
    const std::lock_guard lock(state_->mutex);
    state_->migrating = context;
}

void ControlClient::cancel() {
    const std::lock_guard lock(state_->mutex);
    if (state_->migrating != nullptr) state_->migrating->TryCancel();
}

Result<ControlClient::Sessions> ControlClient::status() {
    grpc::ClientContext context;
    set_timeout(context, kAskTimeout);
    v1::SessionList reply;
    const auto status = state_->stub->Status(&context, v1::StatusRequest(), &reply);
    if (!status.ok()) return fail(control_error(status, state_->socket));
    Sessions answer{.agent = from_wire(reply.agent()), .sessions = {}};
    for (const v1::Session& session : reply.sessions()) {
        answer.sessions.push_back(TRY(from_wire(session)));
    }
    return answer;
}

Result<std::vector<SessionInfo>> ControlClient::history(unsigned limit) {
    grpc::ClientContext context;
    set_timeout(context, kAskTimeout);
    v1::HistoryRequest request;
    request.set_limit(limit);
    v1::SessionList reply;
    const auto status = state_->stub->History(&context, request, &reply);
    if (!status.ok()) return fail(control_error(status, state_->socket));
    std::vector<SessionInfo> sessions;
    for (const v1::Session& session : reply.sessions()) {
        sessions.push_back(TRY(from_wire(session)));
    }
    return sessions;
}

Result<SessionInfo> ControlClient::abort(const std::string& session) {
    grpc::ClientContext context;
    v1::AbortRequest request;
    request.set_session(session);
    v1::Session reply;
    const auto status = state_->stub->Abort(&context, request, &reply);
    if (!status.ok()) return fail(control_error(status, state_->socket));
    return from_wire(reply);
}

struct PeerClient::State {
    std::string peer;
    std::string name;
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<v1::Peer::Stub> stub;
};

PeerClient::PeerClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
PeerClient::PeerClient(PeerClient&&) noexcept = default;
PeerClient& PeerClient::operator=(PeerClient&&) noexcept = default;
PeerClient::~PeerClient() = default;

Result<PeerClient> PeerClient::connect(const net::TlsIdentity& identity, const PeerAgent& peer,
                                       net::Deadline deadline) {
    const auto context = TRY(net::TlsContext::load(identity));
    std::string name = TRY(net::probe_control_port(context, peer.at, peer.name, deadline));
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = TRY(os::read_file(identity.ca));
    options.pem_cert_chain = TRY(os::read_file(identity.certificate));
    options.pem_private_key = TRY(os::read_file(identity.key));
    grpc::ChannelArguments arguments = channel_arguments();
    // A call that lasts finds out that its link is cut.
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    arguments.SetSslTargetNameOverride(peer.name);
    // Resolved the way the data connection is, not by gRPC's own resolver.
    const os::SocketAddress address = TRY(os::resolve(peer.at.host, peer.at.port)).front();
    auto state = std::make_unique<State>();
    state->peer = peer.at.to_string();
    state->name = std::move(name);
    const std::string target = fmt::format("{}:{}", address.family() == AF_INET6 ? "ipv6" : "ipv4",
                                           TRY(os::to_string(address)));
    state->channel = grpc::CreateCustomChannel(target, grpc::SslCredentials(options), arguments);
    state->stub = v1::Peer::NewStub(state->channel);
    return PeerClient(std::move(state));
}

const std::string& PeerClient::name() const {
    return state_->name;
}

Result<AgentIdentity> PeerClient::ping() {
    grpc::ClientContext context;
    set_timeout(context, kAskTimeout);
    v1::PingReply reply;
    const auto status = state_->stub->Ping(&context, v1::PingRequest(), &reply);
    if (!status.ok()) return fail(error_of(status, state_->peer));
    return from_wire(reply);
}

struct FetchStream::State {
    std::string peer;
    std::unique_ptr<v1::Peer::Stub> stub;  // the call's own: it may outlive the client
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<v1::FetchRequest, v1::FetchEvent>> call;
    std::mutex writing;
    bool ended = false;
};

FetchStream::FetchStream(std::unique_ptr<State> state) : state_(std::move(state)) {}

FetchStream::~FetchStream() {
    cancel();
}

Result<std::optional<FetchEvent>> FetchStream::read() {
    v1::FetchEvent event;
    if (state_->call->Read(&event)) return TRY(from_wire(event));
    const grpc::Status status = state_->call->Finish();
    if (status.ok()) return std::nullopt;
    return fail(error_of(status, state_->peer));
}

void FetchStream::say(std::size_t member, std::string_view word) {
    v1::FetchRequest request;
    request.mutable_word()->set_member(static_cast<std::uint32_t>(member));
    request.mutable_word()->set_word(std::string(word));
    const std::lock_guard lock(state_->writing);
    if (!state_->ended) state_->call->Write(request);
}

void FetchStream::end() {
    const std::lock_guard lock(state_->writing);
    if (!std::exchange(state_->ended, true)) state_->call->WritesDone();
}

void FetchStream::cancel() {
    state_->context.TryCancel();
}

std::unique_ptr<FetchStream> PeerClient::fetch(const FetchOrder& order) {
    auto state = std::make_unique<FetchStream::State>();
    state->peer = state_->peer;
    state->stub = v1::Peer::NewStub(state_->channel);
    state->call = state->stub->Fetch(&state->context);
    state->call->Write(to_wire(order));
    return std::make_unique<FetchStream>(std::move(state));
}

Result<std::optional<GroupDecision>> PeerClient::decide(const std::string& group, bool give_up) {
    grpc::ClientContext context;
    set_timeout(context, kAskTimeout);
    v1::DecideRequest request;
    request.set_group(group);
    request.set_give_up(give_up);
    v1::DecideReply reply;
    const auto status = state_->stub->Decide(&context, request, &reply);
    if (!status.ok()) return fail(error_of(status, state_->peer));
    if (reply.decision().empty()) return std::nullopt;
    if (const auto decision = group_decision_from(reply.decision())) return decision;
    return fail(Error::corrupt(fmt::format("{}: it names an unknown decision", state_->peer)));
}

Result<Prepared> PeerClient::prepare(const PrepareOrder& order) {
    grpc::ClientContext context;
    set_timeout(context, kPrepareTimeout);
    v1::PrepareRequest request;
    request.set_protocol(order.protocol);
    request.set_session(order.session);
    request.set_service(order.service);
    request.set_control_host(order.control_host);
    request.set_control_port(order.control_port);
    request.set_bridge(order.bridge);
    request.set_output(order.output);
    request.set_console_socket(order.console_socket);
    request.set_group(order.group);
    request.set_decided_here(order.decided_here);
    v1::PrepareReply reply;
    const auto status = state_->stub->Prepare(&context, request, &reply);
    if (!status.ok()) return fail(error_of(status, state_->peer));
    if (reply.data_port() == 0 || reply.data_port() > 65535) {
        return fail(Error::corrupt(fmt::format("{}: it names no data port", state_->peer)));
    }
    return Prepared{.data_address = reply.data_address(),
                    .data_port = static_cast<std::uint16_t>(reply.data_port())};
}

namespace {

template <class Call>
Result<migrate::SessionState> ask_state(const std::string& session, const std::string& peer,
                                        Call call) {
    grpc::ClientContext context;
    set_timeout(context, kAskTimeout);
    v1::OutcomeRequest request;
    request.set_session(session);
    v1::OutcomeReply reply;
    const grpc::Status status = call(&context, request, &reply);
    if (!status.ok()) return fail(error_of(status, peer));
    if (const auto state = migrate::session_state_from(reply.state())) return *state;
    return fail(Error::corrupt(fmt::format("{}: it names an unknown state", peer)));
}

}  // namespace

Result<migrate::SessionState> PeerClient::outcome(const std::string& session) {
    return ask_state(session, state_->peer,
                     [&](auto&&... arguments) { return state_->stub->Outcome(arguments...); });
}

Result<migrate::SessionState> PeerClient::cancel(const std::string& session) {
    return ask_state(session, state_->peer,
                     [&](auto&&... arguments) { return state_->stub->Cancel(arguments...); });
}

namespace {

// CA CERTIFICATE KEY HOST PORT NAME, and what it is about.
template <class Ask>
Result<std::string> query(const std::vector<std::string>& arguments, Ask ask) {
    if (arguments.size() != 7) return fail(Error::invalid("seven arguments are needed"));
    unsigned port = 0;
    std::from_chars(arguments[4].data(), arguments[4].data() + arguments[4].size(), port);
    const net::TlsIdentity identity = {
        .ca = arguments[0], .certificate = arguments[1], .key = arguments[2]};
    const PeerAgent peer = {.at = {.host = arguments[3], .port = static_cast<std::uint16_t>(port)},
                            .name = arguments[5]};
    PeerClient client =
        TRY(PeerClient::connect(identity, peer, net::Deadline::after(std::chrono::seconds(4))));
    return ask(client, arguments[6]);
}

int print_answer(const Result<std::string>& answer) {
    fmt::print("{}", answer ? *answer : answer.error().message());
    return answer ? 0 : 1;
}

}  // namespace

int run_outcome_query(const std::vector<std::string>& arguments) {
    return print_answer(
        query(arguments, [](PeerClient& peer, const std::string& session) -> Result<std::string> {
            return migrate::name_of(TRY(peer.outcome(session)));
        }));
}

int run_decision_query(const std::vector<std::string>& arguments, bool give_up) {
    return print_answer(query(
        arguments, [give_up](PeerClient& peer, const std::string& group) -> Result<std::string> {
            const auto decision = TRY(peer.decide(group, give_up));
            return decision ? name_of(*decision) : kUndecided;
        }));
}

}  // namespace ferry::agent
