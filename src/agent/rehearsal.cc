// ferryd_rehearsal, for tests: the whole agent with sessions that move nothing. What a session does
// is told by the name of its service: the agent must cope with every way in which a session can go.
// These definitions take the place of those in the migrate library.
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>
#include <tuple>
#include <utility>

#include "migrate/group_gate.h"
#include "migrate/session.h"
#include "net/tls_listener.h"
#include "os/inet.h"

namespace ferry::migrate {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 30s;

// True: somebody wants an end; false: nobody did for so long.
bool wait_for_abort(SessionHost& host) {
    const auto give_up = net::Deadline::after(kPatience);
    while (!give_up.passed()) {
        if (host.abort_requested()) return true;
        std::this_thread::sleep_for(5ms);
    }
    return false;
}

net::TlsIdentity identity(const TlsFiles& files) {
    return {.ca = files.ca, .certificate = files.certificate, .key = files.key};
}

// A "heavy" one writes more than all may have left, until it has been slowed down.
Result<GroupVerdict> converge(GroupGate& group, const std::string& script, bool throttles) {
    MemberRound round = {.bytes_sent = 100'000'000,
                         .duration = 1s,
                         .bytes_dirty = script.ends_with("heavy") ? 20'000'000u : 0u,
                         .dirty_rate = 50'000'000,
                         .can_be_slower = throttles};
    for (;;) {
        const auto verdict = TRY(group.all_converged(round, 20ms));
        round.bytes_sent = 4096;  // says nothing of the link
        round.duration = 20ms;
        if (!verdict) continue;
        if (verdict->next == GroupVerdict::Next::Go) return *verdict;
        if (verdict->next == GroupVerdict::Next::Slow) round.bytes_dirty = 2'000'000;
    }
}

// Of a source that has decided, and does not know what came of it.
Result<> ask_for_outcome(SessionHost& host) {
    for (;;) {
        const auto state = host.peer_state();
        if (state && *state == SessionState::Running) return {};
        if (state && *state == SessionState::Aborted) {
            TRY(host.record(SessionState::Aborted));
            return fail(Error::peer("the destination gave up"));
        }
        std::this_thread::sleep_for(20ms);
    }
}

// Until all of the group do, in one moment.
Result<GroupVerdict> stand_still(GroupGate& group, const std::string& script, bool throttles) {
    bool is_busy = script.ends_with("busy");
    for (;;) {
        const GroupVerdict verdict = TRY(converge(group, script, throttles));
        TRY(group.all_passed(script.ends_with("busy") ? 30ms : 0ms));
        if (TRY(group.all_frozen(!std::exchange(is_busy, false)))) return verdict;
    }
}

Result<> source(const SourceRequest& request, SessionHost& host, Report& report) {
    std::string script = TRY(os::read_file(fmt::format("/proc/{}/comm", request.root)));
    script.resize(script.find('\n'));
    if (script.ends_with("refuse")) return fail(Error::unsupported("this cannot be moved"));
    const auto context = TRY(net::TlsContext::load(identity(request.tls)));
    auto channel = TRY(net::TlsChannel::connect(
        context, {.host = request.address, .port = request.port}, request.destination_name,
        net::Deadline::after(kPatience), host.control_fd()));
    host.progress({.phase = "precopy", .round = 1, .message = {}});
    // The destination follows the same script. In a group it is "gone" after the decision.
    if (script.ends_with("gone") && host.group() == nullptr) script = "rehearse-ok";
    TRY(channel.write_all(os::as_bytes(fmt::format("{:16}", script))));
    if (script.ends_with("wait")) {
        if (wait_for_abort(host)) return fail(Error::aborted("aborted on request"));
        return fail(Error::peer("nobody aborted"));
    }
    if (script.ends_with("die")) ::raise(SIGKILL);
    if (script.ends_with("deaf")) {
        // Not even an abort: as after the commit. Only the agent's own end (POLLHUP) counts.
        pollfd control = {.fd = host.control_fd(), .events = 0, .revents = 0};
        std::ignore = os::poll(std::span(&control, 1), 30000);
        return fail(Error::aborted("the agent is gone"));
    }
    if (host.group() != nullptr) {
        const bool throttles = request.on_no_convergence == OnNoConvergence::Throttle;
        report.fits_downtime = TRY(stand_still(*host.group(), script, throttles)).fits;
    }
    std::byte ready{};
    TRY(channel.read_all(std::span(&ready, 1)));
    // Until the destination hangs up.
    if (script.ends_with("hold")) TRY(channel.read_all(std::span(&ready, 1)));
    if (script.ends_with("mute") && wait_for_abort(host)) {
        return fail(Error::aborted("aborted without a vote"));
    }
    if (host.group() != nullptr) TRY(host.group()->vote(channel.fd()));
    if (script.ends_with("late")) ::raise(SIGKILL);
    TRY(host.record(SessionState::Committed));
    if (script.ends_with("lost")) ::raise(SIGKILL);
    if (script.ends_with("cut")) {
        // The decision never reaches the destination. Its agent knows what became of it.
        std::ignore = channel.shutdown();
        TRY(ask_for_outcome(host));
    } else {
        TRY(channel.write_all(os::as_bytes("C")));
        if (!channel.read_all(std::span(&ready, 1))) TRY(ask_for_outcome(host));
    }
    return host.record(SessionState::Done);
}

}  // namespace

Report run_source(const SourceRequest& request, SessionHost& host) {
    Report report;
    report.session = request.session;
    report.service = request.service;
    report.source = request.source_name;
    report.destination = request.destination_name;
    const auto result = source(request, host, report);
    report.succeeded = result.has_value();
    if (!result) report.error = result.error().message();
    const bool is_known = !result && result.error().kind() != Error::Kind::Gone;
    if (is_known && host.group() != nullptr) std::ignore = host.record(SessionState::Aborted);
    const bool is_asked = !result && result.error().kind() == Error::Kind::Aborted;
    const std::string why =
        is_asked && host.group() != nullptr ? host.group()->why_aborted() : std::string();
    if (!why.empty()) report.error = why;
    return report;
}

Result<> run_destination(const DestinationRequest& request, SessionHost& host, PortSink& port) {
    const auto context = TRY(net::TlsContext::load(identity(request.tls)));
    const auto listener = TRY(net::Listener::bind({.host = request.listen_address, .port = 0}));
    port.listening(listener.port());
    const auto deadline = net::Deadline::after(kPatience);
    auto channel =
        TRY(net::accept_peer(listener, context, request.source_name, deadline, host.control_fd()));
    std::string script(16, ' ');
    TRY(channel.read_all(std::as_writable_bytes(std::span(script))));
    channel.interrupt_on(host.control_fd());
    TRY(host.record(SessionState::Ready));
    TRY(channel.write_all(os::as_bytes("R")));
    std::byte decision{};
    const auto decided = channel.read_all(std::span(&decision, 1));
    if (!decided) {
        // The link is cut: only the source's agent knows what was decided.
        auto state = TRY(host.peer_state());
        const auto give_up = net::Deadline::after(kPatience);
        const auto is_undecided = [&] {
            return state == SessionState::Precopy || state == SessionState::Ready;
        };
        while (is_undecided() && !give_up.passed() &&
               !(host.abort_requested() && host.may_give_up())) {
            std::this_thread::sleep_for(20ms);
            state = TRY(host.peer_state());
        }
        if (state != SessionState::Committed) return fail(Error::peer("the source gave up"));
    }
    if (script.find("gone") != std::string::npos) ::raise(SIGKILL);
    TRY(host.record(SessionState::Running));
    if (decided) TRY(channel.write_all(os::as_bytes("r")));
    return {};
}

}  // namespace ferry::migrate
