// The control groups (cgroups(7)) of a container.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"

namespace ferry::container {

// The processes in a group's directory and below it. None where it does not exist.
Result<std::set<Pid>> members_of(const std::string& group);

// The directories, in every hierarchy that is mounted here, of the group that runc makes for this
// linux.cgroupsPath when we call it: an absolute one counts from the hierarchy's root, another one
// from our own group.
Result<std::vector<std::string>> groups_for(const std::string& cgroups_path);

// We are in the same group as that process in every hierarchy that is mounted here.
Result<> join_groups_of(Pid other);

}  // namespace ferry::container
