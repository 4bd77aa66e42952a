#include "agent/process_table.h"

#include <fmt/format.h>

#include <optional>
#include <sstream>
#include <string_view>

#include "os/fd.h"
#include "os/process.h"

namespace ferry::agent {
namespace {

// "PID (comm) STATE PPID ... STARTTIME ...", where comm may contain anything.
std::optional<Process> parse_stat(const std::string& stat) {
    constexpr int kBetween = 17;  // fields after the parent and before the start time
    const auto open = stat.find('(');
    const auto close = stat.rfind(')');
    if (open == std::string::npos || close == std::string::npos || close < open) {
        return std::nullopt;
    }
    Process process;
    process.name = stat.substr(open + 1, close - open - 1);
    std::istringstream rest(stat.substr(close + 1));
    rest >> process.state >> process.parent;
    std::string skipped;
    for (int i = 0; i < kBetween; ++i) rest >> skipped;
    rest >> process.started;
    if (!rest) return std::nullopt;
    return process;
}

bool is_in_tree(const ProcessTable& all, pid_t pid, pid_t root) {
    // Parents are read one after the other, so a reused pid could close a circle: bounded.
    for (std::size_t steps = 0; pid != root && steps < all.size(); ++steps) {
        const auto found = all.find(pid);
        if (found == all.end()) return false;
        pid = found->second.parent;
    }
    return pid == root;
}

}  // namespace

Result<ProcessTable> all_processes() {
    ProcessTable processes;
    for (const auto& [pid, inode] : TRY(os::process_entries())) {
        const auto stat = os::read_file(fmt::format("/proc/{}/stat", pid));
        if (!stat) continue;
        if (auto process = parse_stat(*stat)) processes.emplace(pid.value, std::move(*process));
    }
    return processes;
}

std::optional<std::uint64_t> start_of(Pid pid) {
    const auto stat = os::read_file(fmt::format("/proc/{}/stat", pid));
    const auto process = stat ? parse_stat(*stat) : std::nullopt;
    if (!process || process->state == 'Z' || process->state == 'X') return std::nullopt;
    return process->started;
}

std::vector<KnownProcess> known_processes(std::span<const Pid> pids) {
    std::vector<KnownProcess> known;
    for (const Pid pid : pids) {
        if (const auto started = start_of(pid)) known.push_back({pid, *started});
    }
    return known;
}

Result<std::vector<KnownProcess>> tree_of(const KnownProcess& root) {
    const ProcessTable all = TRY(all_processes());
    std::vector<KnownProcess> tree;
    const auto first = all.find(root.pid.value);
    if (first == all.end() || first->second.started != root.started) return tree;
    for (const auto& [pid, process] : all) {
        if (is_in_tree(all, pid, root.pid.value)) tree.push_back({Pid{pid}, process.started});
    }
    return tree;
}

}  // namespace ferry::agent
