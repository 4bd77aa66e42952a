// Readers over /proc/PID and /proc/PID/task/TID. The directory is held open, so a reused id can
// never be read by mistake: once the task is gone every reader answers Kind::Gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"
#include "proc/maps.h"
#include "proc/stat.h"
#include "proc/status.h"
#include "proc/tables.h"

namespace ferry::proc {

// Opens what is mapped there (Linux 3.3): the file, or the object behind shared memory. The range
// is a whole mapping.
[[nodiscard]] std::string mapped_file(Pid pid, AddrRange range);

class ProcessDirectory {
  public:
    // Kind::Gone if there is no such process (or thread of that process).
    static Result<ProcessDirectory> open(Pid pid);
    static Result<ProcessDirectory> open_thread(Pid pid, Tid tid);

    // The O_PATH descriptor of the directory.
    [[nodiscard]] int get() const { return directory_.get(); }

    Result<Stat> stat() const;
    Result<Status> status() const;
    // The text, for a quick comparison with an earlier one.
    Result<std::string> maps_text() const;
    Result<std::vector<MapsEntry>> maps() const;
    // Walks the page tables: tens of milliseconds for gigabytes. Reads from the start up to and
    // with the mapping that begins at `last`, and the kernel walks hardly more than that.
    Result<std::vector<SmapsEntry>> smaps(RemoteAddr last) const;
    // Ids in task/, ascending: the leader need not be the first. For a process directory only.
    Result<std::vector<Tid>> threads() const;
    // Children of this thread (CONFIG_PROC_CHILDREN).
    Result<std::vector<Pid>> children() const;
    Result<std::vector<Limit>> limits() const;
    Result<std::vector<CgroupLine>> cgroups() const;
    Result<std::vector<TimerLine>> timers() const;
    Result<std::vector<std::uint64_t>> auxv() const;
    // Inode number of ns/NAME: "mnt", "net", "pid", ...
    Result<std::uint64_t> namespace_id(const char* name) const;
    // Small files with one number.
    Result<int> oom_score_adj() const;
    Result<std::uint32_t> personality() const;
    // coredump_filter; none: a kernel without core dumps.
    Result<std::optional<std::uint32_t>> core_filter() const;
    Result<std::string> comm() const;
    // What the link "exe", "cwd", "root" or "map_files/..." points to.
    Result<std::string> link(const std::string& name) const;
    // Any other file.
    Result<std::string> text(const std::string& name) const;

  private:
    explicit ProcessDirectory(os::UniqueFd directory) : directory_(std::move(directory)) {}
    os::UniqueFd directory_;
};

}  // namespace ferry::proc
