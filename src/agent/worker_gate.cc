#include "agent/worker_gate.h"

#include <poll.h>

#include <array>
#include <thread>

#include "agent/group_words.h"
#include "base/log.h"
#include "os/inet.h"
#include "os/socket.h"

namespace ferry::agent {
namespace {

using std::chrono::milliseconds;

// A decision that cannot be written or read is tried again.
constexpr milliseconds kTryAgain{100};
// Where it is made elsewhere: how long its word is waited for, until it is asked for.
constexpr milliseconds kSilence{2000};
// How long it is asked for in vain, until the tree is left stopped.
constexpr milliseconds kOutOfReach{60000};

pollfd watch(int fd) {
    return {.fd = fd, .events = POLLIN, .revents = 0};
}

}  // namespace

Result<> WorkerGate::say(std::string_view word) const {
    return os::send_with_fds(gate_, std::as_bytes(std::span(word)), {});
}

Result<std::optional<std::string>> WorkerGate::hear(net::Deadline deadline) {
    for (;;) {
        std::array<pollfd, 2> fds = {watch(gate_), watch(control_)};
        const int ready = TRY(os::poll(fds, deadline.poll_timeout()));
        if (ready == 0 && deadline.passed()) return std::nullopt;
        if (fds[1].revents != 0) {
            const std::string why = why_aborted();
            return fail(Error::aborted(why.empty() ? "aborted on request" : why));
        }
        if (fds[0].revents == 0) continue;
        std::array<std::byte, words::kWordBytesMax> packet = {};
        const auto received = TRY(os::receive_with_fds(gate_, packet));
        if (received.bytes == 0) return fail(Error::aborted("the agent is gone"));
        std::string word(reinterpret_cast<const char*>(packet.data()), received.bytes);
        if (!word.starts_with(words::kAbort)) return word;
        why_ = word.substr(words::kAbort.size());
        return fail(Error::aborted(why_));
    }
}

Result<std::optional<migrate::GroupVerdict>> WorkerGate::all_converged(
    const std::optional<migrate::MemberRound>& round, milliseconds timeout) {
    TRY(say(words::ready(round)));
    const auto word = TRY(hear(net::Deadline::after(timeout)));
    if (word) return TRY(words::verdict_of(*word));
    // Where both happen at once, the word is found the next time.
    TRY(say(words::kBack));
    return std::nullopt;
}

Result<> WorkerGate::all_passed(milliseconds lead) {
    TRY(say(words::with_time(words::kPassed, lead)));
    const auto freeze = TRY(hear(net::Deadline::never()));
    if (freeze) std::this_thread::sleep_for(words::time_of(*freeze));
    return {};
}

Result<bool> WorkerGate::all_frozen(bool here) {
    TRY(say(here ? words::kFrozen : words::kBusy));
    if (!here) return false;
    return TRY(hear(net::Deadline::never())) == words::kGo;
}

void WorkerGate::listen() {
    for (;;) {
        std::array<pollfd, 1> fds = {watch(gate_)};
        const auto ready = os::poll(fds, 0);
        if (!ready || *ready == 0 || closed_) return;
        std::array<std::byte, words::kWordBytesMax> packet = {};
        const auto received = os::receive_with_fds(gate_, packet);
        closed_ = !received || received->bytes == 0;
        if (closed_) return;
        const std::string_view word(reinterpret_cast<const char*>(packet.data()), received->bytes);
        if (word.starts_with(words::kAbort) && why_.empty()) {
            why_ = word.substr(words::kAbort.size());
        }
        if (word == words::kDecided) decided_ = true;
    }
}

std::string WorkerGate::why_aborted() {
    listen();
    return why_;
}

WorkerGate::Heard WorkerGate::await_decision(int link_fd, net::Deadline deadline) {
    std::array<pollfd, 3> fds = {watch(gate_), watch(control_), watch(link_fd)};
    if (const auto ready = os::poll(fds, deadline.poll_timeout()); !ready) {
        log_warn("vote: {}", ready.error().message());
    }
    listen();
    const bool link_ended = fds[2].revents != 0;
    return {.decided = decided_,
            .link_ended = link_ended,
            .alone = closed_ || link_ended || fds[1].revents != 0};
}

Error WorkerGate::aborted(bool link_ended) {
    const std::string why = why_aborted();
    if (why.empty() && link_ended) return Error::peer("the destination has given up");
    return Error::aborted(why.empty() ? "aborted on request" : why);
}

// Whatever happens first - the agent's word, its end, a wish for an end, the destination's end -
// there is a decision then, if need be ours against the group.
Result<> WorkerGateHere::vote(int link_fd) {
    if (const auto said = say(words::kVote); !said) log_debug("vote: {}", said.error().message());
    const Heard heard = await_decision(link_fd, net::Deadline::never());
    for (;;) {
        const auto decided = vote_.propose(GroupDecision::Abort);
        if (decided && *decided == GroupDecision::Commit) return {};
        if (decided) return fail(aborted(heard.link_ended));
        log_error("the group's decision: {}", decided.error().message());
        std::this_thread::sleep_for(kTryAgain);
    }
}

// The same, but a word that does not come may have been lost on its way, and the agent that knows
// it may be out of reach: then nobody here decides.
Result<> WorkerGateThere::vote(int link_fd) {
    if (const auto noted = record_(); !noted) return fail(Error::aborted(noted.error().message()));
    if (const auto said = say(words::kVote); !said) log_debug("vote: {}", said.error().message());
    net::Deadline give_up = net::Deadline::after(kOutOfReach);
    for (Heard heard;;) {
        if (heard.alone) {
            std::this_thread::sleep_for(kTryAgain);
        } else {
            heard = await_decision(link_fd, net::Deadline::after(kSilence));
        }
        if (heard.decided) return {};
        if (!why_aborted().empty()) return fail(aborted(false));
        const auto answer = ask_(heard.alone);
        if (answer && *answer == GroupDecision::Commit) return {};
        if (answer && *answer == GroupDecision::Abort) return fail(aborted(heard.link_ended));
        if (answer) give_up = net::Deadline::after(kOutOfReach);
        if (!answer) log_info("asking what is decided: {}", answer.error().message());
        if (give_up.passed()) {
            return fail(Error::gone("nobody can be asked what the group has decided"));
        }
    }
}

}  // namespace ferry::agent
