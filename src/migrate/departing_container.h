// A container that is to leave its host, to another one or into image files. Internal to migrate/.
#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "base/types.h"
#include "container/container.h"
#include "container/tmpfs_source.h"
#include "os/process.h"
#include "resources/files.h"

namespace ferry::migrate {

class DepartingContainer {
  public:
    // While it runs. Invalid: there is none of that name; Unsupported: something about it cannot be
    // carried (container::check_movable).
    static Result<DepartingContainer> find(const std::string& name,
                                           const std::string& runtime_root);
    // The same of one that was found.
    static Result<DepartingContainer> of(container::Container container);

    [[nodiscard]] const container::Description& description() const { return description_; }
    [[nodiscard]] const container::Container& container() const { return container_; }
    [[nodiscard]] Pid root() const { return container_.state.init; }
    // With what its runtime has given it. Unsupported: of that, something is not there any more.
    [[nodiscard]] Result<resources::FileOptions> with_given(resources::FileOptions files) const;

    // Unsupported: hosts cannot share the storage of such a container.
    [[nodiscard]] Result<> check_storage(bool shared_storage) const;
    // What it will not have at the destination, for people; empty: nothing is missing.
    [[nodiscard]] Result<std::string> loss() const;
    // Before a freeze: a process that came in by exec would end with the container.
    [[nodiscard]] Result<> check_strangers() const;
    // In the freeze: its mounts are those of the description.
    [[nodiscard]] Result<> check_mounts() const;
    // TmpfsSource::collect().
    Result<std::string> collect_files() { return tmpfs_.collect(); }
    // In the freeze, where Podman has made it: its log has what it wrote.
    [[nodiscard]] Result<> await_log() const;
    // After the commit, before its processes end: its monitor would have Podman start it anew.
    [[nodiscard]] Result<> end_monitor() const;
    // After its processes have ended: container::remove().
    [[nodiscard]] Result<> remove() const { return container::remove(container_); }

  private:
    DepartingContainer(container::Container container, container::Description description,
                       container::TmpfsSource tmpfs)
        : container_(std::move(container)),
          description_(std::move(description)),
          tmpfs_(std::move(tmpfs)) {}

    container::Container container_;
    container::Description description_;
    container::TmpfsSource tmpfs_;
    std::optional<os::PidFd> monitor_;  // Podman's
};

}  // namespace ferry::migrate
