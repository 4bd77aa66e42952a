// The one decision of a group of sessions: a symbolic link GROUP.decision beside the sessions'
// files, whose target is the word. Whoever makes it first has decided (symlink(2) is atomic), for
// the workers, their guardians, and every agent that comes after this one. Not synced to disk, for
// the reason that session_store.h gives.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace ferry::agent {

enum class GroupDecision { Commit, Abort };
[[nodiscard]] const char* name_of(GroupDecision decision);  // "commit", "abort"
[[nodiscard]] std::optional<GroupDecision> group_decision_from(std::string_view name);

class GroupVote {
  public:
    // `directory` is the session store's.
    GroupVote(const std::string& directory, const std::string& group);
    [[nodiscard]] const std::string& path() const { return path_; }
    // Decides, unless that has been done. Returns what is decided.
    [[nodiscard]] Result<GroupDecision> propose(GroupDecision decision) const;
    // Nothing: nobody has decided yet.
    [[nodiscard]] Result<std::optional<GroupDecision>> read() const;
    // Once no session of the group is left that could ask.
    Result<> forget() const;

  private:
    std::string path_;
};

// The group of a decision file's name; nothing if it is none.
[[nodiscard]] std::optional<std::string> group_of_decision(const std::string& name);

}  // namespace ferry::agent
