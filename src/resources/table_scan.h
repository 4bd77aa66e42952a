// Descriptor tables of the tree's processes as /proc shows them, and which descriptors share one
// open file description.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"
#include "os/process.h"
#include "resources/descriptions.h"

namespace ferry::resources {

// Keeps /proc/PID directories open and remembers the links of sockets and pipes, whose inode
// numbers are never used twice.
class TableScanner {
  public:
    // Ascending by fd. A task that is gone has no descriptors; descriptors that are closed while
    // this reads are left out.
    Result<std::vector<Slot>> scan(Pid pid);
    // One descriptor. Gone, or the system's error (ENOENT): it is not there.
    Result<Slot> look_at(const Holder& holder);
    // A duplicate of a descriptor of the tree. Gone: task or descriptor vanished.
    Result<os::UniqueFd> duplicate(const Holder& holder);
    void forget(Pid pid) { tasks_.erase(pid); }

  private:
    struct Task {
        os::PidFd pidfd;
        os::UniqueFd fd_directory, info_directory;
    };
    Result<Task*> task(Pid pid);
    Result<> read_info(const Task& task, const std::string& name);
    Result<Slot> look_at(const Task& task, const Holder& holder);
    Result<std::string> link_of(const Task& task, const std::string& name, const FdInfo& info);

    std::map<Pid, Task> tasks_;
    std::map<std::pair<std::int32_t, std::uint64_t>, std::string> known_links_;
    std::string text_;  // of the fdinfo being parsed
};

// Slots (by index) that share one description.
using SharingGroups = std::vector<std::vector<std::size_t>>;

// Every slot in exactly one group; kcmp(2) is asked only where inode, flags, position and kind
// agree.
Result<SharingGroups> group_descriptions(std::span<const Slot> slots);

// Unsupported: two of the processes, or threads of one, do not have their own table each.
Result<> check_tables(std::span<const Pid> pids);

}  // namespace ferry::resources
