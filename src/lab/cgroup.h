// The control group of one platform: a directory of the same name below our own group, in every v1
// hierarchy and in the v2 hierarchy, as far as this machine has them mounted and writable. A
// runtime's groups lie below it, so that two platforms' never are the same.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::lab {

class Cgroup {
  public:
    // Where create() would make directories; for whoever must remove them after our death.
    static Result<std::vector<std::string>> directories_for(const std::string& name);
    // `name` has our pid: an empty group of that name is a dead process's, and goes first.
    static Result<Cgroup> create(const std::string& name);

    Cgroup() = default;
    Cgroup(Cgroup&&) noexcept = default;
    Cgroup& operator=(Cgroup&&) noexcept = default;
    ~Cgroup();

    // Removes the directories now, with those below; what is still busy stays. The destructor does
    // the same.
    void remove() const;
    // One in each hierarchy.
    [[nodiscard]] const std::vector<std::string>& directories() const { return directories_; }
    // Open cgroup.procs files, for os::Launch.
    [[nodiscard]] std::vector<int> procs() const;
    // Bytes charged to the group (anonymous memory and page cache); nullopt without the controller.
    [[nodiscard]] std::optional<std::uint64_t> memory_bytes() const;

  private:
    std::vector<std::string> directories_;
    std::vector<os::UniqueFd> procs_;
};

}  // namespace ferry::lab
