// Directories that must go when this process does, however it ends (cgroups have no other owner).
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "os/launch.h"

namespace ferry::os {

// Starts a process in a session of its own that waits for our end and then removes the (by then
// empty) directories in the given order, trying for up to 20 seconds while they are busy. Ending it
// early (the destructor of ChildProcess does) leaves the directories alone.
Result<ChildProcess> sweep_after_death(const std::vector<std::string>& directories);

// Something that a command undoes, and what is removed when that is done.
struct Undoing {
    std::vector<std::string> command;  // [0] is looked up in PATH
    std::string until_gone;            // a path that the command removes in the end
    std::vector<std::string> files;
    std::vector<std::string> directories;  // empty when the files are gone
    int held = -1;  // a descriptor that stays open in that process until all is done
};
// Starts such a process that runs the command after our end, again and again for up to 20 seconds,
// until the path has been gone for a second: whoever was making it meanwhile has come to an end.
Result<ChildProcess> undo_after_death(const Undoing& undoing);

// Starts such a process that runs the command, [0] of which is looked up in PATH, once after our
// end.
Result<ChildProcess> run_after_death(const std::vector<std::string>& command);

}  // namespace ferry::os
