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

// The argument after `option`, of a command line as of proc_pid_cmdline(5); empty: there is none.
std::string_view value_of(std::string_view line, std::string_view option) {
    bool is_next = false;
    for (const auto part : std::views::split(line, '\0')) {
        const std::string_view argument(part.begin(), part.end());
        if (is_next) return argument;
        is_next = argument == option;
    }
    return {};
}

// Podman's containers are known by their monitors' arguments (conmon(8)). One that went away from
// under its monitor would be one that has ended, for Podman, and be cleaned up by it.
Result<> refuse_podmans(const ProcessTable& all, const std::string& text) {
    constexpr std::size_t kShortIdBytes = 12;  // as `podman ps` shows it
    for (const auto& [pid, process] : all) {
        if (process.name != "conmon") continue;
        const std::string line =
            os::read_file(fmt::format("/proc/{}/cmdline", pid)).value_or(std::string());
        const bool is_id = text.size() >= kShortIdBytes && value_of(line, "-c").starts_with(text);
        if (!is_id && value_of(line, "-n") != text) continue;
        return fail(Error::unsupported(
            fmt::format("{} is a container of Podman (its monitor conmon is process {}): Ferry "
                        "moves containers that were started by runc itself",
                        text, pid)));
    }
    return {};
}

}  // namespace

Result<Service> find_service(const std::string& text, const std::string& runtime_root) {
    if (text.empty()) return fail(Error::invalid("no service given"));
    const ProcessTable all = TRY(all_processes());
    if (const auto pid = number(text)) {
        if (all.contains(*pid)) return Service{.root = Pid{*pid}, .container = {}};
        return fail(Error::gone(fmt::format("there is no process {}", *pid)));
    }
    TRY(refuse_podmans(all, text));
    const container::Runtime runtime = {.root = runtime_root};
    if (container::Runtime::check_id(text) &&
        os::fstatat(os::kCwd, runtime.directory_of(text) + "/state.json")) {
        const container::Container found = TRY(container::find(text, runtime));
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
