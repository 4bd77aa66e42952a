#include "agent/session.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "agent/group_decision.h"
#include "agent/left_tree.h"
#include "agent/process_table.h"
#include "base/check.h"
#include "base/log.h"
#include "os/inet.h"
#include "os/socket.h"
#include "os/spawn.h"

namespace ferry::agent {

using migrate::SessionState;

namespace {

// How long a root that the kernel has killed may still be seen, on a busy host.
constexpr std::chrono::milliseconds kDying{2000}, kDyingStep{10};
// From the end of a worker to the word on it.
constexpr std::chrono::milliseconds kConclusion{5000};

// A dead worker's stubs died with it. A source's tree runs on, unless its group has decided before
// the worker had said so. One that has voted elsewhere does what is decided there.
Result<SessionState> conclude_undecided(const SessionInfo& info, const SessionStore& store) {
    if (info.role == Role::Source && info.state == SessionState::Ready) return info.state;
    if (info.role == Role::Source && !info.group.empty() && !info.decided_at_peer) {
        const GroupVote vote(store.directory(), info.group);
        const GroupDecision decided = TRY(vote.propose(GroupDecision::Abort));
        if (decided == GroupDecision::Commit) return SessionState::Committed;
    }
    if (info.role == Role::Source) let_go(info);
    return SessionState::Aborted;
}

// The worker of a destination has ended after it had decided to run: the tree runs without it, or
// has died with it. The root's fate is the tree's: it is the last to be let go. What is to die is
// dying already, which takes a moment.
Result<SessionState> conclude_running(const SessionInfo& info) {
    const auto give_up = std::chrono::steady_clock::now() + kDying;
    while (start_of(info.root.pid) == info.root.started) {
        if (std::chrono::steady_clock::now() > give_up) return SessionState::Running;
        std::this_thread::sleep_for(kDyingStep);
    }
    if (end_remains(info)) return SessionState::Aborted;
    return fail(Error::limit(fmt::format("remains of {} do not end", info.service)));
}

}  // namespace

Result<SessionInfo> conclude_session(const SessionInfo& last_known, const SessionStore& store,
                                     History& history) {
    SessionInfo info = TRY(store.read(last_known.id)).value_or(last_known);
    const bool is_news = info.finished_ms == 0;
    if (is_news) {
        info.finished_ms = now_ms();
        if (info.error.empty()) info.error = "the session's worker died";
    }
    if (info.state == SessionState::Precopy || info.state == SessionState::Ready) {
        info.state = TRY(conclude_undecided(info, store));
    }
    if (is_news && info.state == SessionState::Running && !info.released &&
        info.root.pid.value > 0) {
        info.state = TRY(conclude_running(info));
    }
    if (is_outcome_unknown(info)) {
        if (is_news) TRY(store.write(info));
        return info;
    }
    // In this order, so that at every moment one of the two knows.
    TRY(history.add(info));
    TRY(store.remove(info.id));
    return info;
}

Result<std::optional<SessionInfo>> settle_outcome(SessionInfo info, SessionState answer,
                                                  const SessionStore& store, History& history) {
    if (answer == SessionState::Running || answer == SessionState::Done) {
        info.state = SessionState::Done;
        end_left(info);
        info.error += fmt::format("; {} answers: the service runs there", info.destination);
    } else if (answer == SessionState::Aborted || answer == SessionState::Unknown) {
        info.state = SessionState::Aborted;
        let_go(info);
        info.error += fmt::format("; {} answers: the service will never run there; it goes on here",
                                  info.destination);
    } else {
        return std::nullopt;
    }
    TRY(history.add(info));
    TRY(store.remove(info.id));
    return info;
}

Result<std::shared_ptr<Session>> Session::start(const WorkerSetup& setup, const SessionStore& store,
                                                History& history, int gate) {
    std::shared_ptr<Session> session(new Session(setup, store, history));
    auto lock = TRY(store.try_lock(setup.info.id));
    if (!lock) return fail(Error::invalid(fmt::format("session {} exists", setup.info.id)));
    TRY(store.write(setup.info));
    auto [ours, theirs] = TRY(os::socketpair(AF_UNIX, SOCK_SEQPACKET));
    TRY(os::send_with_fds(ours.get(), os::as_bytes(to_json(setup)), {}));
    os::SpawnRequest spawn = {
        .path = "/proc/self/exe",
        .arguments = {"ferryd", kWorkerVerb, setup.info.id},
        .descriptors = {{theirs.get(), kWorkerControlFd}, {lock->get(), kWorkerLockFd}},
        .own_group = true};
    if (gate >= 0) spawn.descriptors.emplace_back(gate, kWorkerGateFd);
    auto worker = os::spawn(spawn);
    if (!worker) {
        std::ignore = store.remove(setup.info.id);
        return fail(std::move(worker.error()).context("starting a worker"));
    }
    session->control_ = std::move(ours);
    session->worker_ = *worker;
    session->listener_ = std::thread([raw = session.get()] { raw->listen(); });
    return session;
}

Session::~Session() {
    if (listener_.joinable()) listener_.join();
}

SessionInfo Session::info() const {
    const std::lock_guard lock(mutex_);
    return info_;
}

bool Session::finished() const {
    const std::lock_guard lock(mutex_);
    return finished_;
}

void Session::abort() {
    {
        const std::lock_guard lock(mutex_);
        // One packet is enough: the worker never reads it.
        if (std::exchange(abort_wished_, true)) return;
    }
    const auto sent = os::send_some(control_.get(), os::as_bytes("abort"));
    if (!sent) log_debug("session {}: abort: {}", info_.id, sent.error().message());
}

std::string Session::why_ended() {
    wait_finished(kConclusion);
    return info().error;
}

bool Session::wait_finished(std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [&] { return finished_; });
}

bool Session::wait_news(std::uint64_t& seen, std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    const bool any = changed_.wait_for(lock, timeout, [&] { return news_ != seen; });
    seen = news_;
    return any;
}

Result<std::uint16_t> Session::wait_port(std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, timeout, [&] { return finished_ || port_.has_value(); });
    if (port_) return *port_;
    return fail(Error::peer(info_.error.empty() ? "the worker does not listen" : info_.error));
}

void Session::take(const WorkerEvent& event) {
    const std::lock_guard lock(mutex_);
    switch (event.kind) {
        case WorkerEvent::Kind::Progress:
            info_.progress = event.progress;
            break;
        case WorkerEvent::Kind::State:
            info_.state = event.state;
            break;
        case WorkerEvent::Kind::Listening:
            port_ = event.port;
            break;
        case WorkerEvent::Kind::Finished:
            info_.report = event.report;
            info_.error = event.error;
            break;
    }
    ++news_;
    changed_.notify_all();
}

void Session::listen() {
    std::vector<std::byte> packet(kWorkerPacketBytesMax);
    for (;;) {
        const auto received = os::receive_with_fds(control_.get(), packet);
        if (!received || received->bytes == 0) break;
        const auto event = worker_event_from_json(
            std::string(reinterpret_cast<const char*>(packet.data()), received->bytes));
        if (event) {
            take(*event);
        } else {
            log_warn("session {}: {}", info_.id, event.error().describe());
        }
    }
    conclude();
}

void Session::conclude() {
    const auto status = os::wait_child(worker_);
    const SessionInfo known = info();
    auto concluded = conclude_session(known, store_, history_);
    if (!concluded) log_error("session {}: {}", known.id, concluded.error().describe());
    const std::lock_guard lock(mutex_);
    if (concluded) {
        concluded->progress = info_.progress;
        info_ = std::move(*concluded);
    }
    if (status && WIFSIGNALED(*status)) {
        log_warn("session {}: the worker was killed by signal {}", info_.id, WTERMSIG(*status));
    }
    log_info("session {}: {} {} -> {}: {}{}{}", info_.id, info_.service, info_.source,
             info_.destination, migrate::name_of(info_.state), info_.error.empty() ? "" : ": ",
             info_.error);
    finished_ = true;
    ++news_;
    changed_.notify_all();
}

}  // namespace ferry::agent
