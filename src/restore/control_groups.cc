#include "restore/control_groups.h"

#include <fmt/format.h>

#include <cerrno>
#include <string>

#include "os/fd.h"

namespace ferry::restore {
namespace {

// Where distributions mount the hierarchy of these controllers.
std::string mount_point(const std::string& controllers) {
    constexpr std::string_view kNamed = "name=";
    if (controllers.empty()) return "/sys/fs/cgroup/unified";
    if (controllers.starts_with(kNamed))
        return "/sys/fs/cgroup/" + controllers.substr(kNamed.size());
    return "/sys/fs/cgroup/" + controllers;
}

}  // namespace

Result<> join_control_groups(Pid here, const model::Process& process) {
    for (const model::ControlGroup& group : process.cgroups) {
        std::string directory = mount_point(group.controllers) + group.path;
        // Version 2 alone is mounted at the top.
        if (group.controllers.empty() && !os::fstatat(os::kCwd, directory)) {
            directory = "/sys/fs/cgroup" + group.path;
        }
        const auto joined =
            os::write_file(os::kCwd, directory + "/cgroup.procs", fmt::format("{}", here));
        if (joined || joined.error().code() == ENOENT) continue;
        return fail(Error(joined.error())
                        .context(fmt::format("process {} cannot join {}", process.pid, directory)));
    }
    return {};
}

}  // namespace ferry::restore
