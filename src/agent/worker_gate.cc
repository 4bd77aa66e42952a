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

// Whatever happens first - the agent's word, its end, a wish for an end, the destination's end -
// there is a decision then, if need be ours against the group.
Result<> WorkerGate::vote(int link_fd) {
    if (const auto said = say(words::kVote); !said) log_debug("vote: {}", said.error().message());
    std::array<pollfd, 3> fds = {watch(gate_), watch(control_), watch(link_fd)};
    if (const auto ready = os::poll(fds, -1); !ready) {
        log_warn("vote: {}", ready.error().message());
    }
    for (;;) {
        const auto decided = vote_.propose(GroupDecision::Abort);
        if (decided && *decided == GroupDecision::Commit) return {};
        if (decided) break;
        log_error("the group's decision: {}", decided.error().message());
        std::this_thread::sleep_for(kTryAgain);
    }
    if (fds[2].revents != 0) return fail(Error::peer("the destination has given up"));
    const std::string why = why_aborted();
    return fail(Error::aborted(why.empty() ? "aborted on request" : why));
}

std::string WorkerGate::why_aborted() {
    while (why_.empty()) {
        std::array<pollfd, 1> fds = {watch(gate_)};
        const auto ready = os::poll(fds, 0);
        if (!ready || *ready == 0) break;
        std::array<std::byte, words::kWordBytesMax> packet = {};
        const auto received = os::receive_with_fds(gate_, packet);
        if (!received || received->bytes == 0) break;
        const std::string_view word(reinterpret_cast<const char*>(packet.data()), received->bytes);
        if (word.starts_with(words::kAbort)) why_ = word.substr(words::kAbort.size());
    }
    return why_;
}

}  // namespace ferry::agent
