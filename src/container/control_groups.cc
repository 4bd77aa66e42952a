#include "container/control_groups.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/limits.h"
#include "os/fd.h"
#include "proc/mounts.h"
#include "proc/process_directory.h"
#include "proc/text.h"

namespace ferry::container {
namespace {

// A version 1 hierarchy has its controllers, or its name, among the file system's options.
bool is_hierarchy_of(const proc::Mount& mount, const proc::CgroupLine& line) {
    if (line.controllers.empty()) return mount.type == "cgroup2";
    if (mount.type != "cgroup") return false;
    std::string_view controllers = line.controllers;
    const std::string_view first = proc::take_until(controllers, ',');
    std::string_view options = mount.super_options;
    while (!options.empty()) {
        if (proc::take_until(options, ',') == first) return true;
    }
    return false;
}

Result<> collect(const std::string& group, std::set<Pid>& into) {
    const auto text = os::read_file(group + "/cgroup.procs");
    if (!text && text.error().code() == ENOENT) return {};
    if (!text) return fail(text.error());
    for (std::string_view rest = *text; !rest.empty();) {
        if (into.size() > limits::kTasksMax) return fail(Error::limit("too many processes"));
        const auto pid = proc::to_number<pid_t>(proc::take_until(rest, '\n'));
        if (pid) into.insert(Pid{*pid});
    }
    for (const std::string& name : TRY(os::list_directory(os::kCwd, group))) {
        const std::string below = fmt::format("{}/{}", group, name);
        const auto status = os::fstatat(os::kCwd, below, AT_SYMLINK_NOFOLLOW);
        if (status && S_ISDIR(status->st_mode)) TRY(collect(below, into));
    }
    return {};
}

// The directories of the group of this name below that of `whose`; an absolute one counts from the
// root.
Result<std::vector<std::string>> groups_below(Pid whose, const std::string& cgroups_path) {
    const auto self = TRY(proc::ProcessDirectory::open(Pid{::getpid()}));
    const auto mounts = TRY(proc::parse_mounts(TRY(self.text("mountinfo"))));
    const auto process = TRY(proc::ProcessDirectory::open(whose));
    std::vector<std::string> groups;
    for (const proc::CgroupLine& line : TRY(process.cgroups())) {
        const auto mount = std::ranges::find_if(
            mounts, [&line](const proc::Mount& other) { return is_hierarchy_of(other, line); });
        if (mount == mounts.end()) continue;
        // What is mounted may be a part of the hierarchy, and the process outside of it.
        const std::string root = mount->root == "/" ? "" : mount->root;
        std::string own = line.path.starts_with(root) ? line.path.substr(root.size()) : "";
        if (own == "/" || cgroups_path.starts_with('/')) own.clear();
        groups.push_back(fmt::format("{}{}/{}", mount->point, own,
                                     cgroups_path.substr(cgroups_path.starts_with('/') ? 1 : 0)));
    }
    return groups;
}

}  // namespace

Result<std::set<Pid>> members_of(const std::string& group) {
    std::set<Pid> members;
    TRY(collect(group, members));
    return members;
}

Result<std::vector<std::string>> groups_for(const std::string& cgroups_path) {
    return groups_below(Pid{::getpid()}, cgroups_path);
}

Result<> join_groups_of(Pid other) {
    for (const std::string& group : TRY(groups_below(other, ""))) {
        TRY(os::write_file(os::kCwd, group + "cgroup.procs", fmt::format("{}", ::getpid())));
    }
    return {};
}

}  // namespace ferry::container
