// The pseudo-terminals of a tree that is being restored. A process inherits its controlling
// terminal from its parent, so they are made before the stubs are forked.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "base/error.h"
#include "model/checkpoint.h"
#include "os/fd.h"
#include "os/scope.h"
#include "restore/stub.h"

namespace ferry::restore {

class Terminals {
  public:
    // The one that the container's runtime has made, if it has.
    void give(std::optional<std::uint32_t> index) { given_ = index; }
    // Makes those of the skeleton that are not there, and gives up those that are not in it.
    // `root`: where paths lead from (os::RootScope); `user`: whose they are (os::UserScope).
    // Invalid: an index is taken, or is not that of the given one.
    Result<> follow(const model::Checkpoint& skeleton, int root,
                    const std::optional<os::UserIds>& user);
    // The stub, which is in its session and has `process.terminal` from whom it was forked, gets
    // the controlling terminal that it had. Unsupported: one that it had not been forked with,
    // without leading its session.
    Result<> control(StubProcess& process, const model::Process& wanted) const;
    // Modes, owners, locks. Every descriptor is open.
    Result<> settle(const model::Checkpoint& final, int root) const;
    // The foreground group, by the leader of the session.
    Result<> set_foreground(StubProcess& leader, const model::Terminal& terminal) const;

    // Everybody has what they need.
    void give_up() { pairs_.clear(); }

    // The master's only open file description; -1: there is none.
    [[nodiscard]] int master(std::uint32_t index) const;

  private:
    struct Pair {
        // The former: -1 if it is outside; the latter: -1 if nobody has ever opened it.
        os::UniqueFd master, slave;
    };
    [[nodiscard]] int slave(std::uint32_t index) const;
    static Result<> make_master(Pair& pair, const model::Terminal& terminal);
    [[nodiscard]] Result<> check_given(const model::Terminal& terminal) const;
    std::map<std::uint32_t, Pair> pairs_;
    std::optional<std::uint32_t> given_;
};

}  // namespace ferry::restore
