#include "lab/platform.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>

#include <filesystem>
#include <thread>

#include "lab/container.h"

namespace ferry::lab {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kTimeout{20000};
constexpr milliseconds kRetry{20};
constexpr const char* kKeys = "/run/lab/keys";

std::string log_path() {
    return std::string(kFerryDirectory) + "/ferryd.log";
}

}  // namespace

Result<std::string> program_directory() {
    const std::string program = TRY(os::readlinkat(os::kCwd, "/proc/self/exe"));
    return std::filesystem::path(program).parent_path().string();
}

Result<> make_keys(const Host& any,
                   const std::vector<std::pair<std::string, std::string>>& names_and_addresses) {
    const std::string ferry = TRY(program_directory()) + "/ferry";
    TRY(any.run_checked({ferry, "pki", "init", "--dir", kKeys}, kTimeout));
    for (const auto& [name, address] : names_and_addresses) {
        TRY(any.run_checked({ferry, "pki", "issue", name, "--also", address, "--dir", kKeys},
                            kTimeout));
    }
    return {};
}

Result<Platform> Platform::start(Host& host, std::string address) {
    Platform platform(host, std::move(address));
    TRY(with_context(platform.start_agent(), platform.name()));
    return platform;
}

Result<> limit_rate(const Host& host, double bits_per_second) {
    if (bits_per_second <= 0) return {};
    // A bucket of some milliseconds, so that a timer tick's worth of traffic fits (tc-tbf(8)).
    TRY(host.run_checked({"tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate",
                          fmt::format("{:.0f}bit", bits_per_second), "burst",
                          fmt::format("{:.0f}", bits_per_second / 8 / 250), "latency", "50ms"},
                         kTimeout));
    return {};
}

Result<> Platform::start_agent() {
    const std::string directory = TRY(program_directory());
    const os::UniqueFd log =
        TRY(os::open(host_->path(log_path()), O_WRONLY | O_CREAT | O_APPEND, 0600));
    os::Launch launch = host_->launch(
        {directory + "/ferryd", "--name", host_->name(), "--listen", address_, "--pki-dir", kKeys,
         "--state-dir", std::string(kFerryDirectory) + "/state", "--runtime-root", kRuncRoot});
    launch.stdout_fd = log.get();
    launch.stderr_fd = log.get();
    agent_ = TRY(os::ChildProcess::start(launch));
    const auto end = std::chrono::steady_clock::now() + kTimeout;
    for (;;) {
        const CommandResult status = TRY(run_ferry({"status"}, kTimeout));
        if (status.status == 0) return {};
        const bool ended = TRY(agent_.wait(kRetry)).has_value();
        if (ended || std::chrono::steady_clock::now() > end) {
            return fail(Error::peer(
                fmt::format("the agent does not answer: {}{}", agent_log(), status.err)));
        }
    }
}

Result<> Platform::restart_agent() {
    agent_ = {};
    return start_agent();
}

std::vector<std::string> Platform::ferry(const std::vector<std::string>& arguments) const {
    std::vector<std::string> all = {program_directory().value_or("") + "/ferry"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
}

Result<CommandResult> Platform::run_ferry(const std::vector<std::string>& arguments,
                                          milliseconds timeout) const {
    return host_->run(ferry(arguments), timeout);
}

std::string Platform::agent_log() const {
    return os::read_file(host_->path(log_path())).value_or("");
}

}  // namespace ferry::lab
