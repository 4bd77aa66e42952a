#include "agent/lookup.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <ranges>
#include <vector>

#include "agent/process_table.h"
#include "container/container.h"
#include "os/fd.h"
#include "os/process.h"

namespace ferry::agent {
namespace {

std::optional<pid_t> number(std::string_view text) {
    pid_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc() || end != text.data() + text.size() || value <= 0) return std::nullopt;
    return value;
}

bool has_matching_ancestor(const ProcessTable& all, pid_t pid, const std::string& name) {
    // Parents are read one after the other, so a reused pid could close a circle: bounded.
    auto found = all.find(pid);
    for (std::size_t steps = 0; found != all.end() && steps < all.size(); ++steps) {
        found = all.find(found->second.parent);
        if (found != all.end() && found->second.name == name) return true;
    }
    return false;
}

}  // namespace

Result<Service> find_service(const std::string& text, const std::string& runtime_root) {
    if (text.empty()) return fail(Error::invalid("no service given"));
    const ProcessTable all = TRY(all_processes());
    if (const auto pid = number(text)) {
        if (all.contains(*pid)) return Service{.root = Pid{*pid}, .container = {}};
        return fail(Error::gone(fmt::format("there is no process {}", *pid)));
    }
    const container::Runtime runtime = {.root = runtime_root};
    const bool is_runcs = container::Runtime::check_id(text) &&
                          os::fstatat(os::kCwd, runtime.directory_of(text) + "/state.json");
    if (is_runcs || TRY(container::find_monitor(text))) {
        const container::Container found = TRY(container::find_anywhere(text, runtime));
        TRY(container::check_movable(found));
        return Service{.root = found.state.init, .container = text};
    }
    // The kernel keeps 15 bytes of a name.
    const std::string name = text.substr(0, 15);
    std::vector<pid_t> roots;
    for (const auto& [pid, process] : all) {
        if (process.name == name && !has_matching_ancestor(all, pid, name)) roots.push_back(pid);
    }
    if (roots.empty()) {
        return fail(Error::gone(fmt::format("there is no container or process named {}", text)));
    }
    if (roots.size() == 1) return Service{.root = Pid{roots.front()}, .container = {}};
    std::string candidates;
    for (const pid_t pid : roots) {
        std::string command = os::read_file(fmt::format("/proc/{}/cmdline", pid)).value_or("");
        std::ranges::replace(command, '\0', ' ');
        candidates += fmt::format("{}{} ({})", candidates.empty() ? "" : ", ", pid,
                                  command.substr(0, command.find_last_not_of(' ') + 1));
    }
    return fail(Error::invalid(fmt::format("{} is ambiguous; say which: {}", text, candidates)));
}

}  // namespace ferry::agent
