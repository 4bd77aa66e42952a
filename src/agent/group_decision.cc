#include "agent/group_decision.h"

#include <fmt/format.h>

#include <cerrno>

#include "agent/session_info.h"
#include "os/fd.h"
#include "os/file_tree.h"

namespace ferry::agent {
namespace {

constexpr const char* kSuffix = ".decision";
constexpr const char* kCommit = "commit";
constexpr const char* kAbort = "abort";

}  // namespace

const char* name_of(GroupDecision decision) {
    return decision == GroupDecision::Commit ? kCommit : kAbort;
}

std::optional<GroupDecision> group_decision_from(std::string_view name) {
    if (name == kCommit) return GroupDecision::Commit;
    if (name == kAbort) return GroupDecision::Abort;
    return std::nullopt;
}

GroupVote::GroupVote(const std::string& directory, const std::string& group)
    : path_(fmt::format("{}/{}{}", directory, group, kSuffix)) {}

Result<GroupDecision> GroupVote::propose(GroupDecision decision) const {
    const auto made = os::symlinkat(name_of(decision), os::kCwd, path_);
    if (made) return decision;
    if (made.error().code() != EEXIST) return fail(made.error());
    if (const auto decided = TRY(read())) return *decided;
    return fail(Error::gone(fmt::format("{} has gone", path_)));
}

Result<std::optional<GroupDecision>> GroupVote::read() const {
    const auto word = os::readlinkat(os::kCwd, path_);
    if (!word && word.error().code() == ENOENT) return std::nullopt;
    if (!word) return fail(word.error());
    if (const auto decision = group_decision_from(*word)) return decision;
    return fail(Error::corrupt(fmt::format("{}: {}", path_, *word)));
}

Result<> GroupVote::forget() const {
    auto removed = os::unlinkat(os::kCwd, path_);
    if (!removed && removed.error().code() == ENOENT) return {};
    return removed;
}

std::optional<std::string> group_of_decision(const std::string& name) {
    if (!name.ends_with(kSuffix)) return std::nullopt;
    std::string group = name.substr(0, name.size() - std::string_view(kSuffix).size());
    if (!is_session_id(group)) return std::nullopt;
    return group;
}

}  // namespace ferry::agent
