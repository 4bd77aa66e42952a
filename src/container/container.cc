#include "container/container.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <set>

#include "base/limits.h"
#include "container/control_groups.h"
#include "container/program.h"
#include "os/fd.h"
#include "proc/ancestry.h"
#include "proc/process_directory.h"

namespace ferry::container {
namespace {

// Not larger than anything that is one of these documents.
Result<std::string> read_document(const std::string& path) {
    const os::UniqueFd file = TRY(os::open(path, O_RDONLY));
    const auto size = TRY(os::fstat(file.get())).st_size;
    if (size < 0 || static_cast<std::uint64_t>(size) > limits::kContainerDocumentBytesMax) {
        return fail(Error::limit(fmt::format("{} has {} bytes", path, size)));
    }
    std::string text(static_cast<std::size_t>(size), '\0');
    TRY(with_context(os::pread_all(file.get(), std::as_writable_bytes(std::span(text)), 0), path));
    return text;
}

// The container's first process, unless it has ended (or another one has its pid by now).
Result<bool> is_alive(const State& state) {
    if (state.init.value == 0) return false;
    const auto directory = proc::ProcessDirectory::open(state.init);
    if (!directory) {
        if (directory.error().kind() == Error::Kind::Gone) return false;
        return fail(directory.error());
    }
    const auto stat = directory->stat();
    if (!stat && stat.error().kind() == Error::Kind::Gone) return false;
    if (!stat) return fail(stat.error());
    return stat->start_time == state.init_start && !stat->is_zombie();
}

Result<bool> exists(const std::string& path) {
    const auto status = os::fstatat(os::kCwd, path, AT_SYMLINK_NOFOLLOW);
    if (status) return true;
    if (status.error().code() == ENOENT) return false;
    return fail(status.error());
}

// Version 1 has freezer.state, version 2 cgroup.freeze; a container without either is not paused.
Result<bool> is_frozen(const State& state) {
    if (const auto freezer = state.cgroup_paths.find("freezer");
        freezer != state.cgroup_paths.end()) {
        const std::string path = freezer->second + "/freezer.state";
        return TRY(exists(path)) && !TRY(os::read_file(path)).starts_with("THAWED");
    }
    if (const auto unified = state.cgroup_paths.find(""); unified != state.cgroup_paths.end()) {
        const std::string path = unified->second + "/cgroup.freeze";
        return TRY(exists(path)) && TRY(os::read_file(path)).starts_with("1");
    }
    return false;
}

Result<Status> status_of(const Container& container) {
    if (!TRY(is_alive(container.state))) return Status::Stopped;
    const std::string directory = container.runtime.directory_of(container.state.id);
    if (TRY(exists(directory + "/exec.fifo"))) return Status::Created;
    return TRY(is_frozen(container.state)) ? Status::Paused : Status::Running;
}

}  // namespace

std::string_view name_of(Status status) {
    switch (status) {
        case Status::Created:
            return "created but not started";
        case Status::Running:
            return "running";
        case Status::Paused:
            return "paused";
        case Status::Stopped:
            return "stopped";
    }
    return "?";
}

Result<Container> find(const std::string& id, const Runtime& runtime) {
    TRY(Runtime::check_id(id));
    const std::string path = runtime.directory_of(id) + "/state.json";
    Container container;
    container.runtime = runtime;
    auto state_text = read_document(path);
    if (!state_text && state_text.error().code() == ENOENT) {
        return fail(Error::invalid(fmt::format("no container \"{}\" under {}", id, runtime.root)));
    }
    container.state_text = TRY(std::move(state_text));
    container.state =
        TRY(with_context(parse_state(container.state_text), runtime.directory_of(id)));
    if (container.state.id != id) {
        return fail(Error::corrupt(fmt::format("{} is of \"{}\"", path, container.state.id)));
    }
    const std::string& bundle = container.state.bundle;
    auto config_text = read_document(bundle + "/config.json");
    if (!config_text && config_text.error().code() == ENOENT) {
        return fail(Error::invalid(
            fmt::format("the bundle {} of container \"{}\" has no config.json", bundle, id)));
    }
    container.config_text = TRY(std::move(config_text));
    container.config = TRY(with_context(parse_config(container.config_text), bundle));
    container.status = TRY(status_of(container));
    return container;
}

Result<Container> find_anywhere(const std::string& name, const Runtime& runtime) {
    auto monitor = TRY(find_monitor(name));
    if (!monitor) return find(name, runtime);
    Container container =
        TRY(find(monitor->id, {.program = monitor->runtime, .root = monitor->runtime_root}));
    container.monitor = std::move(monitor);
    return container;
}

std::vector<std::string> obstacles(const Config& config, const State& state) {
    std::vector<std::string> reasons;
    const auto refuse_if = [&reasons](bool condition, std::string reason) {
        if (condition) reasons.push_back(std::move(reason));
    };
    for (const char* type : {"pid", "mount"}) {
        refuse_if(config.find_namespace(type) == nullptr,
                  fmt::format("it has no {} namespace of its own", type));
    }
    for (const ConfiguredNamespace& joined : config.namespaces) {
        refuse_if(joined.type == "time", "it has a time namespace");
        refuse_if(!joined.path.empty() && joined.type != "network",
                  fmt::format("it shares the {} namespace {}", joined.type, joined.path));
    }
    const bool has_users = config.find_namespace("user") != nullptr;
    refuse_if(config.ids != state.ids || (has_users && config.ids == ConfiguredIds()),
              "its user namespace has other ids than its config.json says");
    for (const ConfiguredMount& mount : config.mounts) {
        refuse_if(mount.is_id_mapped,
                  fmt::format("{} is mounted with ids of its own", mount.destination));
    }
    const bool has_proc = std::ranges::any_of(config.mounts, [](const ConfiguredMount& mount) {
        return mount.destination == "/proc" && mount.type == "proc";
    });
    refuse_if(!has_proc, "no proc file system is mounted on its /proc");
    refuse_if(!config.hooks.empty(),
              fmt::format("it has hooks ({})", fmt::join(config.hooks, ", ")));
    refuse_if(config.seccomp_listener, "its seccomp filter asks a supervisor (listenerPath)");
    refuse_if(config.intel_rdt, "it has a share of the cache (intelRdt)");
    refuse_if(state.rootless, "it is rootless");
    refuse_if(state.systemd_cgroup, "its control group is systemd's");
    refuse_if(!state.apparmor_profile.empty(), "it has an AppArmor profile");
    refuse_if(!state.selinux_label.empty(), "it has an SELinux label");
    return reasons;
}

Result<> check_movable(const Container& container) {
    std::vector<std::string> reasons;
    if (container.status != Status::Running) {
        reasons.push_back(fmt::format("it is {}", name_of(container.status)));
    }
    std::ranges::move(obstacles(container.config, container.state), std::back_inserter(reasons));
    if (reasons.empty()) {
        for (const Pid pid : TRY(strangers(container))) {
            reasons.push_back(fmt::format("process {} came into it by exec", pid));
        }
    }
    if (reasons.empty()) return {};
    return fail(Error::unsupported(
        fmt::format("container \"{}\": {}", container.state.id, fmt::join(reasons, "; "))));
}

Result<std::vector<Pid>> strangers(const Container& container) {
    std::set<Pid> members;
    for (const auto& [controller, path] : container.state.cgroup_paths) {
        members.merge(TRY(members_of(path)));
    }
    std::vector<Pid> found;
    for (const Pid pid : members) {
        // One that vanishes meanwhile is nobody's stranger.
        if (!proc::descends_from(pid, container.state.init).value_or(true)) found.push_back(pid);
    }
    return found;
}

Result<> remove(const Container& container) {
    if (container.monitor) {
        TRY(run_checked(
            {.arguments = podman_removal(container.monitor->podman, container.state.id, {}, {})}));
        // Podman leaves it to its runtime where a monitor did not live to see the end.
        return container.runtime.remove(container.state.id);
    }
    const auto now = find(container.state.id, container.runtime);
    if (!now && now.error().kind() == Error::Kind::Invalid) return {};
    if (now && (now->state.init != container.state.init ||
                now->state.init_start != container.state.init_start)) {
        return fail(
            Error::gone(fmt::format("container \"{}\" is another one by now", container.state.id)));
    }
    return container.runtime.remove(container.state.id);
}

}  // namespace ferry::container
