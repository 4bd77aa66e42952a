#include "agent/worker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <array>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "agent/process_table.h"
#include "agent/session_store.h"
#include "agent/worker_gate.h"
#include "agent/worker_message.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "os/inet.h"
#include "os/process.h"
#include "os/socket.h"
#include "os/spawn.h"

namespace ferry::agent {
namespace {

// How long the peer's agent may take to say what became of the session.
constexpr int kOutcomeTimeoutMs = 5000;

// Nobody waits for the agent: a report of progress that it does not read in time is dropped, and an
// agent that is gone is noticed through the descriptor that migrate polls.
void tell(const WorkerEvent& event) {
    const std::string text = to_json(event);
    const auto sent = os::send_some(kWorkerControlFd, os::as_bytes(text));
    if (!sent) log_debug("worker: telling the agent: {}", sent.error().message());
}

Result<std::string> read_answer(int fd) {
    std::string answer;
    const net::Deadline deadline =
        net::Deadline::after(std::chrono::milliseconds(kOutcomeTimeoutMs));
    for (;;) {
        std::array<pollfd, 1> fds = {pollfd{.fd = fd, .events = POLLIN, .revents = 0}};
        const int ready = TRY(os::poll(fds, deadline.poll_timeout()));
        if (ready == 0 && deadline.passed()) return fail(Error::peer("the peer's agent is silent"));
        if (ready == 0) continue;
        std::array<std::byte, 512> block = {};
        const std::size_t n = TRY(os::read(fd, block));
        if (n == 0) return answer;
        answer.append(reinterpret_cast<const char*>(block.data()), n);
    }
}

class WorkerHost final : public migrate::SessionHost, public migrate::PortSink {
  public:
    WorkerHost(WorkerSetup setup, SessionStore store)
        : setup_(std::move(setup)), store_(std::move(store)) {
        const std::string& group = setup_.info.group;
        if (group.empty() || setup_.info.role != Role::Source) return;
        if (setup_.info.decided_at_peer) {
            gate_ = std::make_unique<WorkerGateThere>(
                kWorkerGateFd, kWorkerControlFd,
                [this] { return record(migrate::SessionState::Ready); },
                [this](bool give_up) { return decision_there(give_up); });
        } else {
            gate_ = std::make_unique<WorkerGateHere>(kWorkerGateFd, kWorkerControlFd,
                                                     GroupVote(store_.directory(), group));
        }
    }

    void progress(const migrate::Progress& progress) override {
        tell({.kind = WorkerEvent::Kind::Progress, .progress = progress});
    }
    bool abort_requested() override {
        std::array<pollfd, 1> fds = {
            pollfd{.fd = kWorkerControlFd, .events = POLLIN, .revents = 0}};
        const auto ready = os::poll(fds, 0);
        return ready && *ready > 0;
    }
    [[nodiscard]] int control_fd() const override { return kWorkerControlFd; }
    Result<> record(migrate::SessionState state) override {
        setup_.info.state = state;
        TRY(with_context(store_.write(setup_.info), "recording the session's state"));
        tell({.kind = WorkerEvent::Kind::State, .state = state});
        return {};
    }
    Result<> record_held(std::span<const Pid> processes) override {
        setup_.info.processes = known_processes(processes);
        return with_context(store_.write(setup_.info), "recording what stands still");
    }
    Result<> record_running(std::span<const Pid> processes) override {
        setup_.info.processes = known_processes(processes);
        if (setup_.info.processes.empty()) return fail(Error::gone("the tree has ended"));
        setup_.info.root = setup_.info.processes.front();
        return record(migrate::SessionState::Running);
    }
    Result<> record_released() override {
        setup_.info.released = true;
        return store_.write(setup_.info);
    }
    bool may_give_up() override {
        const SessionInfo& info = setup_.info;
        if (info.role == Role::Source || info.group.empty() || info.decided_at_peer) return true;
        const GroupVote vote(store_.directory(), info.group);
        const auto decided = vote.propose(GroupDecision::Abort);
        if (!decided) log_error("the group's decision: {}", decided.error().message());
        return decided && *decided == GroupDecision::Abort;
    }
    // A program of its own asks: gRPC has threads, and the agent may be dead.
    Result<migrate::SessionState> peer_state() override;
    [[nodiscard]] migrate::GroupGate* group() override { return gate_.get(); }
    void listening(std::uint16_t port) override {
        tell({.kind = WorkerEvent::Kind::Listening, .port = port});
    }

    [[nodiscard]] const WorkerSetup& setup() const { return setup_; }
    void finish(const std::string& report, const std::string& error) {
        setup_.info.report = report;
        setup_.info.error = error;
        // Failed without a decision: this side has let go of everything. (A source that is ready
        // has not: it stands still until somebody knows the decision.)
        const bool undecided =
            setup_.info.state == migrate::SessionState::Precopy ||
            (setup_.info.state == migrate::SessionState::Ready && setup_.info.role != Role::Source);
        if (!error.empty() && undecided) setup_.info.state = migrate::SessionState::Aborted;
        setup_.info.finished_ms = now_ms();
        const auto written = store_.write(setup_.info);
        if (!written) log_error("worker: {}", written.error().describe());
        // The last word; worth waiting for room, unlike progress.
        const WorkerEvent last = {
            .kind = WorkerEvent::Kind::Finished, .report = report, .error = error};
        std::ignore = os::send_with_fds(kWorkerControlFd, os::as_bytes(to_json(last)), {});
    }

  private:
    // What `ferryd VERB ...` answers that asks the peer's agent about this.
    Result<std::string> ask_peer(const char* verb, const std::string& about);
    Result<std::optional<GroupDecision>> decision_there(bool give_up);

    WorkerSetup setup_;
    SessionStore store_;
    std::unique_ptr<WorkerGate> gate_;
};

Result<std::string> WorkerHost::ask_peer(const char* verb, const std::string& about) {
    const bool source = setup_.info.role == Role::Source;
    const migrate::TlsFiles& tls = source ? setup_.source.tls : setup_.destination.tls;
    auto [reading, writing] = TRY(os::pipe2(0));
    const Pid child = TRY(os::spawn(
        {.path = "/proc/self/exe",
         .arguments = {"ferryd", verb, tls.ca, tls.certificate, tls.key, setup_.peer.at.host,
                       std::to_string(setup_.peer.at.port), setup_.peer.name, about},
         .descriptors = {{writing.get(), 1}}}));
    writing.reset();
    const auto answer = read_answer(reading.get());
    if (!answer) std::ignore = os::kill(child, SIGKILL);
    TRY(os::wait_child(child));
    return answer;
}

Result<migrate::SessionState> WorkerHost::peer_state() {
    const std::string text = TRY(ask_peer(kOutcomeVerb, setup_.info.id));
    if (const auto state = migrate::session_state_from(text)) return *state;
    return fail(Error::peer(fmt::format("asking {}: {}", setup_.peer.name, text)));
}

Result<std::optional<GroupDecision>> WorkerHost::decision_there(bool give_up) {
    const std::string text =
        TRY(ask_peer(give_up ? kGiveUpVerb : kDecisionVerb, setup_.info.group));
    if (text == kUndecided) return std::nullopt;
    if (const auto decision = group_decision_from(text)) return decision;
    return fail(Error::peer(fmt::format("asking {}: {}", setup_.peer.name, text)));
}

Result<WorkerSetup> receive_setup() {
    std::vector<std::byte> packet(kWorkerPacketBytesMax);
    const auto received = TRY(os::receive_with_fds(kWorkerControlFd, packet));
    return worker_setup_from_json(
        std::string(reinterpret_cast<const char*>(packet.data()), received.bytes));
}

Result<> run() {
    WorkerSetup setup = TRY(receive_setup());
    set_log(nullptr, static_cast<LogLevel>(setup.log_level));
    SessionStore store = TRY(SessionStore::open(setup.store_directory));
    const Role role = setup.info.role;
    if (!setup.info.group.empty() && role == Role::Source) {
        TRY(os::fcntl(kWorkerGateFd, F_SETFD, FD_CLOEXEC));
    }
    WorkerHost host(std::move(setup), std::move(store));
    if (role == Role::Source) {
        const migrate::Report report = migrate::run_source(host.setup().source, host);
        host.finish(migrate::to_json(report), report.error);
    } else {
        const Result<> result = migrate::run_destination(host.setup().destination, host, host);
        host.finish("", result ? "" : result.error().message());
    }
    return {};
}

}  // namespace

int run_worker() {
    // The lock must not be inherited by what the session starts; it ends with this process alone.
    for (const int fd : {kWorkerControlFd, kWorkerLockFd}) {
        if (!os::fcntl(fd, F_SETFD, FD_CLOEXEC)) return 2;
    }
    const Result<> result = run();
    if (result) return 0;
    log_error("worker: {}", result.error().describe());
    return 1;
}

}  // namespace ferry::agent
