#include "lab/cgroup.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <sstream>

namespace ferry::lab {
namespace {

struct Hierarchy {
    const char* controllers;  // as in /proc/self/cgroup: "" is v2
    const char* mounted_at;
};
constexpr Hierarchy kHierarchies[] = {{"memory", "/sys/fs/cgroup/memory"},
                                      {"cpuacct", "/sys/fs/cgroup/cpuacct"},
                                      {"freezer", "/sys/fs/cgroup/freezer"},
                                      {"pids", "/sys/fs/cgroup/pids"},
                                      {"cpu", "/sys/fs/cgroup/cpu"},
                                      {"cpuset", "/sys/fs/cgroup/cpuset"},
                                      {"devices", "/sys/fs/cgroup/devices"},
                                      {"blkio", "/sys/fs/cgroup/blkio"},
                                      {"name=systemd", "/sys/fs/cgroup/systemd"},
                                      {"", "/sys/fs/cgroup/unified"},
                                      {"", "/sys/fs/cgroup"}};

// The path of our own group in a hierarchy; nullopt if it is not there.
std::optional<std::string> own_path(const std::string& proc_cgroup, std::string_view controllers) {
    std::istringstream lines(proc_cgroup);
    for (std::string line; std::getline(lines, line);) {
        const std::size_t first = line.find(':');
        const std::size_t second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        if (std::string_view(line).substr(first + 1, second - first - 1) != controllers) continue;
        const std::string path = line.substr(second + 1);
        return path == "/" ? "" : path;
    }
    return std::nullopt;
}

std::optional<std::uint64_t> read_number(const std::string& path) {
    const Result<std::string> text = os::read_file(path);
    if (!text) return std::nullopt;
    std::uint64_t value = 0;
    const auto parsed = std::from_chars(text->data(), text->data() + text->size(), value);
    if (parsed.ec != std::errc()) return std::nullopt;
    return value;
}

// A new group of that controller takes no process before it has processors and memory.
Result<> inherit_cpuset(const std::string& directory) {
    for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
        const auto parents = os::read_file(directory + "/.." + file);
        if (parents) TRY(os::write_file(os::kCwd, directory + file, *parents));
    }
    return {};
}

// With the groups that a runtime has left below; what is still busy stays.
void remove_group(const std::string& directory) {
    std::error_code ignored;
    std::filesystem::directory_iterator below(directory, ignored);
    std::vector<std::string> groups;
    for (const auto& entry : below) {
        if (entry.is_directory(ignored)) groups.push_back(entry.path());
    }
    for (const std::string& group : groups) remove_group(group);
    ::rmdir(directory.c_str());
}

}  // namespace

Result<std::vector<std::string>> Cgroup::directories_for(const std::string& name) {
    const std::string own = TRY(os::read_file("/proc/self/cgroup"));
    std::vector<std::string> directories;
    for (const Hierarchy& hierarchy : kHierarchies) {
        const std::string root = hierarchy.mounted_at;
        if (!os::fstatat(os::kCwd, root + "/cgroup.procs")) continue;
        const std::optional<std::string> path = own_path(own, hierarchy.controllers);
        if (path && ::access((root + *path).c_str(), W_OK) == 0) {
            directories.push_back(root + *path + "/" + name);
        }
    }
    return directories;
}

Result<Cgroup> Cgroup::create(const std::string& name) {
    Cgroup cgroup;
    for (const std::string& directory : TRY(directories_for(name))) {
        // A process that was killed and had our pid may have left it.
        remove_group(directory);
        TRY(os::mkdirat(os::kCwd, directory, 0755));
        cgroup.directories_.push_back(directory);
        TRY(inherit_cpuset(directory));
        cgroup.procs_.push_back(TRY(os::open(directory + "/cgroup.procs", O_WRONLY)));
    }
    return cgroup;
}

Cgroup::~Cgroup() {
    procs_.clear();
    remove();
}

void Cgroup::remove() const {
    for (const std::string& directory : directories_) remove_group(directory);
}

std::vector<int> Cgroup::procs() const {
    std::vector<int> fds;
    for (const os::UniqueFd& fd : procs_) fds.push_back(fd.get());
    return fds;
}

std::optional<std::uint64_t> Cgroup::memory_bytes() const {
    for (const std::string& directory : directories_) {
        for (const char* file : {"/memory.usage_in_bytes", "/memory.current"}) {
            if (const auto value = read_number(directory + file)) return value;
        }
    }
    return std::nullopt;
}

}  // namespace ferry::lab
