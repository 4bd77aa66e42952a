#include "lab/host.h"

#include <fmt/format.h>
#include <sched.h>

#include "os/process.h"

namespace ferry::lab {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kWriteTimeout{20000};
constexpr int kAllOfHost = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS;

}  // namespace

Host Host::here() {
    Host host;
    host.plan_.name = "this machine";
    return host;
}

Host Host::over_ssh(std::string name, std::vector<std::string> ssh, std::string runtime_root) {
    Host host;
    host.plan_.name = std::move(name);
    host.ssh_ = std::move(ssh);
    host.runtime_root_ = std::move(runtime_root);
    return host;
}

os::Launch Host::launch(std::vector<std::string> arguments) const {
    os::Launch launch;
    if (is_remote()) {
        launch.arguments = ssh_;
        launch.arguments.push_back(shell_words(arguments));
        return launch;
    }
    launch.arguments = std::move(arguments);
    if (!holder_.pidfd) return launch;
    launch.namespaces_of = pidfd();
    launch.namespaces = kAllOfHost | (plan_.more_uptime.count() != 0 ? CLONE_NEWTIME : 0);
    launch.cgroup_procs = cgroup_.procs();
    return launch;
}

Result<CommandResult> Host::run(std::vector<std::string> arguments, milliseconds timeout,
                                const std::string& input) const {
    return lab::run(launch(std::move(arguments)), timeout, input);
}

Result<std::string> Host::run_checked(std::vector<std::string> arguments, milliseconds timeout,
                                      const std::string& input) const {
    return with_context(lab::run_checked(launch(std::move(arguments)), timeout, input), name());
}

Result<> Host::write_file(const std::string& path, const std::string& text) const {
    TRY(run_checked({"sh", "-c", "cat > \"$1\"", "sh", path}, kWriteTimeout, text));
    return {};
}

Result<> Host::enter_network() const {
    if (!holder_.pidfd) return {};
    return os::setns(pidfd(), CLONE_NEWNET);
}

std::string Host::path(const std::string& path) const {
    if (!holder_.pidfd) return path;
    return fmt::format("/proc/{}/root{}", holder_.pid, path);
}

std::string shell_words(const std::vector<std::string>& words) {
    std::string line;
    for (const std::string& word : words) {
        line += line.empty() ? "'" : " '";
        for (const char c : word) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
        line += '\'';
    }
    return line;
}

}  // namespace ferry::lab
