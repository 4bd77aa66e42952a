// How the sources of one group stay together (docs/decisions/0024): several sessions that are
// frozen in one moment and committed by one decision. Implemented by agent/; all calls come from
// the session's thread. Each member makes these steps, again from the first where one says so:
//
//   all_converged()  this member could be frozen; the verdict says what all do next
//   all_passed()     its last pass is sent; returns when all others' are
//   all_frozen()     it stands still, or could not be frozen; false: thaw, from the first
//   vote()           it could run at its destination; returns the decision of all
//
// Any error but vote()'s means that the agent or somebody else wants the end: the session rolls
// back, and its end ends the others'.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/error.h"
#include "migrate/group_convergence.h"

namespace ferry::migrate {

// What all members do when each of them has converged for itself.
struct GroupVerdict {
    enum class Next {
        Go,     // the last pass, and the freeze
        Again,  // another round
        Slow,   // the same, slowed down: a tree that writes all the time (Throttle)
    };
    Next next = Next::Go;
    bool is_judged = false;  // what follows has been measured
    std::string rule = {};   // for people
    bool fits = true;        // --max-downtime, by all members together
    pages::Seconds expected_downtime{0};
    double bandwidth = 0;   // bytes per second, of all together
    double dirty_rate = 0;  // the same
};

class GroupGate {
  public:
    GroupGate() = default;
    GroupGate(const GroupGate&) = delete;
    GroupGate& operator=(const GroupGate&) = delete;
    virtual ~GroupGate() = default;

    // The symbolic link that is the decision, once it exists: "commit" or "abort". Whoever makes it
    // first has decided (symlink(2) is atomic). Empty: it is on the other host, and nobody here but
    // vote() can know it.
    [[nodiscard]] virtual const std::string& decision() const = 0;
    // `round` is the latest; nothing where it has been told. Nothing: others have not converged
    // within the time, send another round.
    virtual Result<std::optional<GroupVerdict>> all_converged(
        const std::optional<MemberRound>& round, std::chrono::milliseconds timeout) = 0;
    // `lead`: for how long parts of it will stand still before the rest does. Returns when the
    // freeze has to begin, so that all stand still at the same time.
    virtual Result<> all_passed(std::chrono::milliseconds lead) = 0;
    virtual Result<bool> all_frozen(bool here) = 0;
    // `link_fd` is readable when the destination has given up. From here on nobody may guess: the
    // error Gone says that the decision, on the other host, cannot be known, any other that the
    // group is aborted.
    virtual Result<> vote(int link_fd) = 0;
    // Why another member's end is ours; empty: it is not, as far as we know.
    virtual std::string why_aborted() = 0;
};

}  // namespace ferry::migrate
