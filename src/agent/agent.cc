#include "agent/agent.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <thread>
#include <tuple>
#include <utility>

#include "agent/directory.h"
#include "agent/group_decision.h"
#include "agent/lookup.h"
#include "agent/process_table.h"
#include "base/limits.h"
#include "base/log.h"
#include "os/fd.h"
#include "os/socket.h"

namespace ferry::agent {

using migrate::SessionState;
using std::chrono::seconds;

namespace {

// Reaching the peer's agent before a session.
constexpr seconds kConnectTimeout{10};
// A worker that is to listen needs no time but for its exec.
constexpr seconds kListenTimeout{10};

// Asking for an unknown outcome, and how rarely in the end.
constexpr seconds kAskTimeout{2};
constexpr seconds kAskPauseMax{60};

// Telling the peer that a session is given up.
constexpr seconds kSettleTimeout{3};

// What became of a session of the other agent's, when that is gone: from our half of it.
constexpr seconds kFarOutcomeTimeout{30};
constexpr std::chrono::milliseconds kFarOutcomePause{100};

// What the other side finds wrong is no mistake in the user's command.
template <class T>
Result<T> of_peer(Result<T> result) {
    if (result || result.error().kind() != Error::Kind::Invalid) return result;
    return fail(Error::peer(result.error().message()));
}

// It is stored, and printed on terminals.
Result<> check_service_name(const std::string& name) {
    const bool printable =
        std::ranges::all_of(name, [](unsigned char c) { return c >= 0x20 && c != 0x7f; });
    if (!printable || name.size() > limits::kServiceNameBytesMax) {
        return fail(Error::invalid("this cannot be the name of a service"));
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<Agent>> Agent::create(const AgentConfig& config) {
    TRY(make_directories(config.state_directory));
    SessionStore store = TRY(SessionStore::open(config.state_directory + "/sessions"));
    auto history = TRY(History::open(config.state_directory + "/history.db"));
    std::unique_ptr<Agent> agent(new Agent(config, std::move(store), std::move(history)));
    agent->tick();
    return agent;
}

Agent::~Agent() = default;

AgentIdentity Agent::identity() const {
    return {.name = config_.name, .version = kVersion, .protocol = kControlProtocol};
}

net::TlsIdentity Agent::keys() const {
    return net::TlsIdentity::in_directory(config_.pki_directory, config_.name);
}

WorkerSetup Agent::new_setup(Role role) const {
    const net::TlsIdentity identity = keys();
    const migrate::TlsFiles tls = {
        .ca = identity.ca, .certificate = identity.certificate, .key = identity.key};
    WorkerSetup setup;
    setup.info.role = role;
    setup.info.started_ms = now_ms();
    setup.store_directory = store_.directory();
    setup.log_level = config_.log_level;
    setup.source.tls = tls;
    setup.destination.tls = tls;
    return setup;
}

Result<WorkerSetup> Agent::plan_source(const MigrateOrder& order, const std::string& service_name) {
    if (control_port_ == 0) {
        return fail(
            Error::invalid("this agent does not listen on TCP, so the other side could not ask it "
                           "for the outcome of a "
                           "session (ferryd --listen)"));
    }
    TRY(check_service_name(service_name));
    WorkerSetup setup = new_setup(Role::Source);
    const Service service = TRY(find_service(service_name, config_.runtime_root));
    setup.source.root = service.root;
    setup.source.container = service.container;
    setup.source.runtime_root = config_.runtime_root;
    if (setup.source.root.value == ::getpid()) {
        return fail(Error::invalid(fmt::format("{} is the agent itself", service_name)));
    }
    setup.peer.at = TRY(net::Endpoint::parse(order.destination, net::kControlPort));
    setup.peer.name = order.destination_name.empty() ? setup.peer.at.host : order.destination_name;
    setup.info.id = TRY(new_session_id());
    setup.info.service = service_name;
    setup.info.root = {.pid = service.root, .started = start_of(service.root).value_or(0)};
    setup.info.source = config_.name;
    setup.source.max_downtime = order.max_downtime;
    setup.source.max_rounds = static_cast<int>(order.max_rounds);
    setup.source.on_no_convergence = order.on_no_convergence;
    setup.source.timeout = order.timeout;
    setup.source.shell_job = order.shell_job;
    setup.source.check_cpu = order.check_cpu;
    setup.source.ghost_bytes_max = order.ghost_bytes_max;
    setup.source.method = order.method;
    setup.source.images_directory = order.images_directory;
    setup.source.shared_storage = order.shared_storage;
    return setup;
}

Result<Agent::Begun> Agent::migrate(const MigrateOrder& order) {
    const std::size_t leaving = 1 + order.others.size();
    const bool is_group = leaving + order.swap.size() > 1;
    const std::string group = is_group ? TRY(new_session_id()) : std::string();
    TRY(check_room(leaving));
    std::vector<Planned> planned = TRY(plan_all(order, group, false));
    std::shared_ptr<FarSessions> far;
    if (!order.swap.empty()) {
        auto begun = begin_swap(order, group);
        if (!begun) {
            for (Planned& other : planned) cancel_peer(other);
            return fail(std::move(begun.error()));
        }
        far = std::move(*begun);
    }
    std::vector<Group::Member> members = TRY(start_all(planned));
    if (far) std::ranges::move(far->take_members(), std::back_inserter(members));
    Begun begun;
    for (const Group::Member& member : members) begun.sessions.push_back(member.session);
    if (!is_group) return begun;
    const Group::Limits limits = {.convergence = {.max_downtime = order.max_downtime,
                                                  .max_rounds = std::max(1u, order.max_rounds)},
                                  .on_no_convergence = order.on_no_convergence};
    const auto together =
        std::make_shared<Group>(GroupVote(store_.directory(), group), limits, std::move(members));
    begun.group = together;
    const std::lock_guard lock(mutex_);
    groups_.push_back(together);
    if (far) far_.push_back(std::move(far));
    return begun;
}

Result<Agent::Fetched> Agent::fetch(FetchOrder order, const std::string& caller) {
    const net::Endpoint back = {.host = order.control_host, .port = order.control_port};
    order.order.destination = back.to_string();
    order.order.destination_name = caller;
    order.order.swap.clear();
    TRY(check_room(1 + order.order.others.size()));
    std::vector<Planned> planned = TRY(plan_all(order.order, order.group, true));
    Fetched fetched;
    for (Group::Member& member : TRY(start_all(planned))) {
        fetched.sessions.push_back(std::move(member.session));
        fetched.gates.push_back(std::move(member.gate));
    }
    return fetched;
}

Result<std::shared_ptr<FarSessions>> Agent::begin_swap(const MigrateOrder& order,
                                                       const std::string& group) {
    FetchOrder theirs = {.order = order,
                         .group = group,
                         .control_host = config_.advertise,
                         .control_port = control_port_};
    theirs.order.service = order.swap.front();
    theirs.order.others.assign(order.swap.begin() + 1, order.swap.end());
    theirs.order.swap.clear();
    const net::Endpoint at = TRY(net::Endpoint::parse(order.destination, net::kControlPort));
    const std::string name = order.destination_name.empty() ? at.host : order.destination_name;
    PeerClient peer = TRY(of_peer(PeerClient::connect(keys(), {.at = at, .name = name},
                                                      net::Deadline::after(kConnectTimeout))));
    return TRY(
        of_peer(FarSessions::begin(peer.fetch(theirs), order.swap.size(), [this](SessionInfo info) {
            return conclude_far(std::move(info));
        })));
}

// Its half here knows what became of it, soon if not already.
SessionInfo Agent::conclude_far(SessionInfo info) {
    const auto give_up = net::Deadline::after(kFarOutcomeTimeout);
    info.state = SessionState::Committed;
    info.finished_ms = now_ms();
    const auto is_over = [&] {
        const std::lock_guard lock(mutex_);
        return closing_ || give_up.passed();
    };
    for (; !is_over(); std::this_thread::sleep_for(kFarOutcomePause)) {
        const auto here = known(info.id);
        if (!here) continue;
        const SessionState state = *here ? state_for_peer(**here) : SessionState::Unknown;
        if (state == SessionState::Running || state == SessionState::Done) {
            info.state = SessionState::Done;
            info.error.clear();
            break;
        }
        if (state == SessionState::Aborted || state == SessionState::Unknown) {
            info.state = SessionState::Aborted;
            break;
        }
    }
    return info;
}

Result<std::vector<Agent::Planned>> Agent::plan_all(const MigrateOrder& order,
                                                    const std::string& group,
                                                    bool decided_at_peer) {
    std::vector<std::string> services = {order.service};
    services.insert(services.end(), order.others.begin(), order.others.end());
    std::vector<WorkerSetup> setups;
    for (const std::string& service : services) {
        WorkerSetup setup = TRY(plan_source(order, service));
        setup.info.group = group;
        setup.info.decided_at_peer = decided_at_peer;
        const auto same = std::ranges::find_if(setups, [&](const WorkerSetup& other) {
            return other.source.root == setup.source.root;
        });
        if (same != setups.end()) {
            return fail(Error::invalid(
                fmt::format("{} and {} are the same service", same->info.service, service)));
        }
        setups.push_back(std::move(setup));
    }
    std::vector<Planned> planned;
    for (WorkerSetup& setup : setups) {
        auto prepared = prepare_peer(order, std::move(setup));
        if (!prepared) {
            for (Planned& other : planned) cancel_peer(other);
            return fail(std::move(prepared.error()));
        }
        planned.push_back(std::move(*prepared));
    }
    return planned;
}

Result<Agent::Planned> Agent::prepare_peer(const MigrateOrder& order, WorkerSetup setup) {
    PeerClient peer = TRY(
        of_peer(PeerClient::connect(keys(), setup.peer, net::Deadline::after(kConnectTimeout))));
    setup.info.destination = peer.name();
    setup.info.peer = setup.peer.at;
    const Prepared prepared =
        TRY(of_peer(peer.prepare({.session = setup.info.id,
                                  .service = setup.info.service,
                                  .source = config_.name,
                                  .control_host = config_.advertise,
                                  .control_port = control_port_,
                                  .bridge = order.bridge,
                                  .output = order.output,
                                  .console_socket = order.console_socket,
                                  .group = setup.info.group,
                                  .decided_here = setup.info.decided_at_peer})));
    setup.source.address =
        prepared.data_address.empty() ? setup.peer.at.host : prepared.data_address;
    setup.source.port = prepared.data_port;
    return Planned{.setup = std::move(setup), .peer = std::move(peer)};
}

void Agent::cancel_peer(Planned& planned) {
    const auto cancelled = planned.peer.cancel(planned.setup.info.id);
    if (!cancelled) log_warn("{}", cancelled.error().message());
}

Result<std::vector<Group::Member>> Agent::start_all(std::vector<Planned>& planned) {
    std::vector<Group::Member> started;
    const auto start = [&](const WorkerSetup& setup) -> Result<> {
        os::UniqueFd ours, theirs;
        if (!setup.info.group.empty()) {
            std::tie(ours, theirs) = TRY(os::socketpair(AF_UNIX, SOCK_SEQPACKET));
        }
        const std::shared_ptr<Session> session =
            TRY(Session::start(setup, store_, *history_, theirs.get()));
        started.push_back({.session = session, .gate = std::move(ours)});
        return add(session);
    };
    for (Planned& next : planned) {
        const Result<> begun = start(next.setup);
        if (begun) continue;
        for (const Group::Member& member : started) member.session->abort();
        for (Planned& other : planned) cancel_peer(other);
        return fail(begun.error());
    }
    return started;
}

void Agent::settle(const SessionInfo& info) {
    if (info.state != SessionState::Aborted || info.source != config_.name) return;
    auto peer = PeerClient::connect(keys(), {.at = info.peer, .name = info.destination},
                                    net::Deadline::after(kSettleTimeout));
    const auto cancelled =
        peer ? peer->cancel(info.id) : Result<SessionState>(fail(std::move(peer.error())));
    if (!cancelled) log_info("session {}: {}", info.id, cancelled.error().message());
}

Result<Prepared> Agent::prepare(const PrepareOrder& order) {
    if (order.protocol != kControlProtocol) {
        return fail(Error::invalid(fmt::format("this agent speaks control protocol {}, not {}",
                                               kControlProtocol, order.protocol)));
    }
    if (!is_session_id(order.session)) return fail(Error::invalid("this is no session id"));
    if (!order.group.empty() && !is_session_id(order.group)) {
        return fail(Error::invalid("this is no group"));
    }
    TRY(check_service_name(order.service));
    for (const std::string& path : {order.output, order.console_socket}) {
        if (path.empty() || path.starts_with('/')) continue;
        return fail(Error::invalid(fmt::format("{} is no absolute path", path)));
    }
    TRY(check_room());
    if (order.source == config_.name) {
        return fail(Error::invalid("source and destination are the same host"));
    }
    if (TRY(known(order.session))) return fail(Error::invalid("the session exists already"));
    WorkerSetup setup = new_setup(Role::Destination);
    setup.info.id = order.session;
    setup.info.group = order.group;
    setup.info.decided_at_peer = !order.group.empty() && !order.decided_here;
    setup.info.service = order.service;
    setup.info.source = order.source;
    setup.info.destination = config_.name;
    setup.peer = {.at = {.host = order.control_host, .port = order.control_port},
                  .name = order.source};
    setup.destination.listen_address =
        config_.advertise.empty() ? config_.listen->host : config_.advertise;
    setup.destination.placement = {.uplink = config_.uplink, .bridge = order.bridge};
    setup.destination.runtime_root = config_.runtime_root;
    setup.destination.output = order.output;
    setup.destination.console_socket = order.console_socket;
    const auto session = TRY(Session::start(setup, store_, *history_));
    TRY(add(session));
    const std::uint16_t port = TRY(session->wait_port(kListenTimeout));
    return Prepared{.data_address = config_.advertise, .data_port = port};
}

Result<> Agent::check_room(std::size_t count) {
    const std::lock_guard lock(mutex_);
    if (closing_) return fail(Error::aborted("the agent is shutting down"));
    if (sessions_.size() + count <= limits::kSessionsMax) return {};
    return fail(
        Error::limit(fmt::format("{} sessions are under way already", limits::kSessionsMax)));
}

Result<> Agent::add(const std::shared_ptr<Session>& session) {
    const std::lock_guard lock(mutex_);
    sessions_.emplace(session->info().id, session);
    if (!closing_) return {};
    session->abort();
    return fail(Error::aborted("the agent is shutting down"));
}

std::shared_ptr<Session> Agent::find(const std::string& id) {
    const std::lock_guard lock(mutex_);
    const auto found = sessions_.find(id);
    return found == sessions_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<Session>> Agent::sessions() {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<Session>> all;
    for (const auto& [id, session] : sessions_) all.push_back(session);
    return all;
}

// A session under way is known by its file, which its worker writes before it acts; afterwards by
// the history. It is in the history before its file is removed, so this order misses none.
Result<std::optional<SessionInfo>> Agent::known(const std::string& id) {
    const auto stored = TRY(store_.read(id));
    if (!stored) return history_->find(id);
    if (find(id) != nullptr) return stored;
    // Of an earlier agent, or just ended. While its worker lives the file speaks for it.
    const auto lock = TRY(store_.try_lock(id));
    if (!lock) return stored;
    // Only now nobody else writes it, or removes it.
    const auto last = TRY(store_.read(id));
    if (last) return TRY(conclude_session(*last, store_, *history_));
    TRY(store_.remove(id));
    return history_->find(id);
}

Result<SessionState> Agent::outcome(const std::string& id, const std::string& peer) {
    const auto info = TRY(known(id));
    if (!info) return SessionState::Unknown;
    const std::string& other = info->role == Role::Source ? info->destination : info->source;
    if (other != peer) return fail(Error::invalid(fmt::format("this is no session with {}", peer)));
    return state_for_peer(*info);
}

// A session of the group that is with this peer lasts here as long as its outcome matters to it.
Result<std::optional<GroupDecision>> Agent::decide(const std::string& group, bool give_up,
                                                   const std::string& peer) {
    if (!is_session_id(group)) return fail(Error::invalid("this is no group"));
    bool is_known = false, is_peers = false;
    for (const std::string& id : TRY(store_.ids())) {
        const auto info = TRY(store_.read(id));
        if (!info || info->group != group) continue;
        is_known = true;
        is_peers = is_peers || info->source == peer || info->destination == peer;
    }
    if (is_known && !is_peers) {
        return fail(Error::invalid(fmt::format("this is no group with {}", peer)));
    }
    const GroupVote vote(store_.directory(), group);
    if (give_up) return TRY(vote.propose(GroupDecision::Abort));
    const auto decided = TRY(vote.read());
    if (decided || is_known) return decided;
    return GroupDecision::Abort;
}

Result<SessionState> Agent::cancel(const std::string& id, const std::string& peer) {
    const SessionState state = TRY(outcome(id, peer));
    const auto session = find(id);
    if (session == nullptr || session->info().role != Role::Destination) return state;
    session->abort();
    session->wait_finished(seconds(3));
    return outcome(id, peer);
}

Result<SessionInfo> Agent::abort(const std::string& beginning) {
    std::shared_ptr<Session> meant;
    const std::vector<std::shared_ptr<Session>> all = sessions();
    const auto is_with = [](const Session& one, const Session& other) {
        const std::string group = one.info().group;
        return &one == &other || (!group.empty() && group == other.info().group);
    };
    for (const auto& session : all) {
        const SessionInfo info = session->info();
        const bool fits = info.id.starts_with(beginning) || info.group.starts_with(beginning);
        if (session->finished() || !fits) continue;
        if (meant != nullptr && !is_with(*meant, *session))
            return fail(Error::invalid(fmt::format("several sessions begin with '{}'", beginning)));
        if (meant == nullptr) meant = session;
    }
    if (meant == nullptr)
        return fail(Error::invalid(
            beginning.empty() ? "no session is under way"
                              : fmt::format("no session under way begins with '{}'", beginning)));
    // What comes here of a group that this agent keeps ends with what leaves, unless it has been
    // decided otherwise.
    const auto leaves = [&](const auto& session) {
        return is_with(*meant, *session) && session->info().role == Role::Source;
    };
    const bool any_leaves = std::ranges::any_of(all, leaves);
    for (const auto& session : all) {
        if (any_leaves ? leaves(session) : is_with(*meant, *session)) session->abort();
    }
    for (const auto& session : all) {
        while (is_with(*meant, *session) && !session->wait_finished(seconds(1))) {
        }
    }
    return meant->info();
}

Result<std::vector<SessionInfo>> Agent::status() {
    std::vector<SessionInfo> under_way;
    for (const auto& session : sessions()) {
        if (!session->finished()) under_way.push_back(session->info());
    }
    // Workers of an earlier agent that are still at it, and sessions of unknown outcome.
    for (const std::string& id : TRY(store_.ids())) {
        if (find(id) != nullptr) continue;
        const auto info = TRY(known(id));
        if (info && (info->finished_ms == 0 || is_outcome_unknown(*info))) {
            under_way.push_back(*info);
        }
    }
    return under_way;
}

void Agent::tick() {
    {
        const std::lock_guard lock(mutex_);
        std::erase_if(groups_, [](const auto& group) { return group->finished(); });
        std::erase_if(far_, [](const auto& far) { return far->finished(); });
        std::erase_if(sessions_, [](const auto& entry) {
            return entry.second->finished() && entry.second.use_count() == 1;
        });
    }
    const auto ids = store_.ids();
    if (!ids) return log_error("{}", ids.error().describe());
    for (const std::string& id : *ids) {
        if (find(id) != nullptr) continue;
        const auto concluded = known(id);
        if (!concluded) log_error("session {}: {}", id, concluded.error().describe());
    }
    if (const auto forgotten = forget_decisions(); !forgotten) {
        log_error("{}", forgotten.error().describe());
    }
}

// Once nobody of the group is under way. A session that is, is in its file before its worker
// starts, and remains there as long as somebody may ask for the decision.
Result<> Agent::forget_decisions() {
    std::vector<std::string> groups;
    for (const std::string& name : TRY(os::list_directory(os::kCwd, store_.directory()))) {
        if (auto group = group_of_decision(name)) groups.push_back(std::move(*group));
    }
    if (groups.empty()) return {};
    // Only now: a group that has begun meanwhile is not among those.
    for (const std::string& id : TRY(store_.ids())) {
        const auto info = TRY(store_.read(id));
        if (info) std::erase(groups, info->group);
    }
    for (const std::string& group : groups) {
        TRY(GroupVote(store_.directory(), group).forget());
    }
    return {};
}

// True if the session is concluded.
Result<bool> Agent::ask_outcome(const SessionInfo& info) {
    PeerClient peer = TRY(PeerClient::connect(keys(), {.at = info.peer, .name = info.destination},
                                              net::Deadline::after(kAskTimeout)));
    SessionInfo decided = info;
    SessionState answer = SessionState::Aborted;
    if (info.state == SessionState::Ready) {
        const auto decision = TRY(peer.decide(info.group, true));
        if (decision == GroupDecision::Commit) decided.state = SessionState::Committed;
    }
    const auto lock = TRY(store_.try_lock(info.id));
    if (!lock) return false;
    if (decided.state == SessionState::Committed) {
        // Its half there may be waiting for this.
        if (info.state == SessionState::Ready) TRY(store_.write(decided));
        answer = TRY(peer.outcome(info.id));
    }
    const auto settled = TRY(settle_outcome(decided, answer, store_, *history_));
    if (settled) log_info("session {}: {}", info.id, settled->error);
    return settled.has_value();
}

void Agent::ask_outcomes() {
    const auto ids = store_.ids();
    if (!ids) return log_error("{}", ids.error().describe());
    std::erase_if(questions_, [&](const auto& question) {
        return std::ranges::find(*ids, question.first) == ids->end();
    });
    for (const std::string& id : *ids) {
        if (find(id) != nullptr) continue;
        const auto info = known(id);
        if (!info || !*info || !is_outcome_unknown(**info)) continue;
        const auto now = std::chrono::steady_clock::now();
        Question& question = questions_[id];
        if (now < question.due) continue;
        question.due = now + question.pause;
        question.pause = std::min(question.pause * 2, kAskPauseMax);
        const auto asked = ask_outcome(**info);
        if (!asked) {
            log_info("session {}: its outcome is unknown, and {} cannot be asked: {}", id,
                     (*info)->destination, asked.error().message());
        }
    }
}

void Agent::begin_shut_down() {
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
    }
    for (const auto& session : sessions()) session->abort();
}

bool Agent::idle() {
    return std::ranges::all_of(sessions(), [](const auto& session) { return session->finished(); });
}

}  // namespace ferry::agent
