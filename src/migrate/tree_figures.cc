#include "migrate/tree_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include "os/fd.h"

namespace ferry::migrate {
namespace {

// The number behind "Key:" in /proc/PID/status; 0 where there is none.
std::uint64_t status_value(const std::string& status, std::string_view key) {
    const std::size_t at = status.find(key);
    if (at == std::string::npos) return 0;
    std::size_t begin = at + key.size();
    while (begin < status.size() && (status[begin] == ' ' || status[begin] == '\t')) ++begin;
    std::uint64_t value = 0;
    std::from_chars(status.data() + begin, status.data() + status.size(), value);
    return value;
}

void add_process(Pid pid, TreeFigures& figures) {
    const std::string base = fmt::format("/proc/{}", pid);
    const Result<std::string> status = os::read_file(base + "/status");
    if (!status) return;
    ++figures.objects.processes;
    figures.objects.threads += status_value(*status, "\nThreads:");
    figures.resident_bytes += status_value(*status, "\nVmRSS:") * 1024;
    if (const Result<std::string> maps = os::read_file(base + "/maps")) {
        figures.objects.mappings +=
            static_cast<std::uint64_t>(std::count(maps->begin(), maps->end(), '\n'));
    }
    const auto names = os::list_directory(os::kCwd, base + "/fd");
    if (!names) return;
    for (const std::string& name : *names) {
        const Result<std::string> target = os::readlinkat(os::kCwd, base + "/fd/" + name);
        if (!target) continue;
        ++figures.objects.files;
        if (target->starts_with("socket:")) ++figures.objects.sockets;
    }
}

}  // namespace

TreeFigures measure_tree(std::span<const Pid> pids) {
    TreeFigures figures;
    for (const Pid pid : pids) add_process(pid, figures);
    return figures;
}

std::uint64_t own_memory_peak() {
    const Result<std::string> status = os::read_file("/proc/self/status");
    return status ? status_value(*status, "\nVmHWM:") * 1024 : 0;
}

}  // namespace ferry::migrate
