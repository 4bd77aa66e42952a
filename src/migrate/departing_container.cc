#include "migrate/departing_container.h"

#include <fmt/format.h>
#include <signal.h>

#include <vector>

#include "container/console.h"
#include "container/podman_export.h"
#include "proc/mounts.h"
#include "proc/process_directory.h"

namespace ferry::migrate {

Result<DepartingContainer> DepartingContainer::find(const std::string& name,
                                                    const std::string& runtime_root) {
    const container::Runtime runtime = {.root = runtime_root};
    return of(TRY(container::find_anywhere(name, runtime)));
}

Result<DepartingContainer> DepartingContainer::of(container::Container container) {
    TRY(container::check_movable(container));
    container::Description description = TRY(container::describe(container));
    container::TmpfsSource tmpfs = TRY(container::TmpfsSource::open(container));
    DepartingContainer departing(std::move(container), std::move(description), std::move(tmpfs));
    if (const auto& monitor = departing.container_.monitor) {
        departing.monitor_.emplace(TRY(os::PidFd::open(monitor->pid)));
    }
    return departing;
}

Result<resources::FileOptions> DepartingContainer::with_given(resources::FileOptions files) const {
    const auto mounts = TRY(proc::parse_mounts(description_.mounts));
    files.given_terminal = TRY(with_context(container::index_of_terminal(container_.config, mounts),
                                            fmt::format("container \"{}\"", container_.state.id)));
    if (!files.given_terminal) files.given = container_.state.streams;
    return files;
}

Result<> DepartingContainer::check_storage(bool shared_storage) const {
    if (!description_.podman || !shared_storage) return {};
    return fail(Error::unsupported("a container of Podman with --shared-storage"));
}

Result<std::string> DepartingContainer::loss() const {
    if (!description_.podman) return std::string();
    const auto config = TRY(container::parse_podman_config(description_.podman->config));
    if (!config.publishes_ports) return std::string();
    return std::string("ports are published: connections through this host's addresses will break");
}

Result<> DepartingContainer::check_strangers() const {
    const std::vector<Pid> strangers = TRY(container::strangers(container_));
    if (strangers.empty()) return {};
    return fail(Error::unsupported(
        fmt::format("process {} came into container \"{}\" by exec: end it first",
                    strangers.front(), container_.state.id)));
}

Result<> DepartingContainer::check_mounts() const {
    const auto directory = TRY(proc::ProcessDirectory::open(root()));
    if (TRY(directory.text("mountinfo")) == description_.mounts) return {};
    return fail(Error::unsupported(fmt::format(
        "the mounts of container \"{}\" have changed meanwhile; try again", container_.state.id)));
}

Result<> DepartingContainer::await_log() const {
    if (!monitor_) return {};
    return container::await_log(*container_.monitor, container_.state.streams);
}

Result<> DepartingContainer::end_monitor() const {
    if (!monitor_) return {};
    const auto ended = monitor_->send_signal(SIGKILL);
    if (!ended && ended.error().kind() != Error::Kind::Gone) return ended;
    return {};
}

}  // namespace ferry::migrate
