#include "container/podman_export.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <thread>

#include "base/check.h"
#include "base/limits.h"
#include "container/program.h"
#include "os/fd.h"
#include "os/inet.h"
#include "os/process.h"
#include "os/sweeper.h"
#include "proc/ancestry.h"
#include "proc/process_directory.h"

namespace ferry::container {
namespace {

constexpr std::chrono::milliseconds kLogTimeout{200};
constexpr unsigned kMasterMajor = 5, kMasterMinor = 2;  // devices.txt: /dev/ptmx
// Podman may still be writing there.
constexpr const char* kRemoval = R"(while ! rm -rf "$1"; do sleep 0.1; done)";

Result<std::string> read_entry(archive* reader, archive_entry* header, std::string_view name) {
    const la_int64_t size = archive_entry_size(header);
    if (size < 0 || static_cast<std::uint64_t>(size) > limits::kContainerDocumentBytesMax) {
        return fail(Error::limit(fmt::format("Podman's {} has {} bytes", name, size)));
    }
    std::string text(static_cast<std::size_t>(size), '\0');
    if (archive_read_data(reader, text.data(), text.size()) != size) {
        return fail(Error::corrupt(fmt::format("Podman's {} cannot be read", name)));
    }
    return text;
}

// The documents in an archive of Podman's; what else there is, is passed over.
Result<PodmanRecord> read_archive(const std::string& path) {
    const os::UniqueFd file = TRY(os::open(path, O_RDONLY));
    const std::unique_ptr<archive, decltype(&archive_read_free)> reader(archive_read_new(),
                                                                        &archive_read_free);
    CHECK(reader != nullptr);
    archive_read_support_format_tar(reader.get());
    constexpr std::size_t kBlockBytes = 64 << 10;
    if (archive_read_open_fd(reader.get(), file.get(), kBlockBytes) != ARCHIVE_OK) {
        return fail(Error::corrupt("Podman's archive is none"));
    }
    PodmanRecord record;
    archive_entry* header = nullptr;
    while (archive_read_next_header(reader.get(), &header) == ARCHIVE_OK) {
        const char* text = archive_entry_pathname(header);
        const std::string_view name = text == nullptr ? "" : text;
        if (name == "config.dump") record.config = TRY(read_entry(reader.get(), header, name));
        if (name == "spec.dump") record.spec = TRY(read_entry(reader.get(), header, name));
        if (name == "network.status") record.network = TRY(read_entry(reader.get(), header, name));
    }
    if (record.config.empty() || record.spec.empty()) {
        return fail(Error::corrupt("Podman's archive does not describe the container"));
    }
    return record;
}

// Podman does not remove a container whose network another one uses.
Result<std::vector<std::string>> sharers_of(const Monitor& monitor, const std::string& space) {
    std::vector<std::string> reasons;
    const struct stat ours = TRY(os::fstatat(os::kCwd, space));
    for (const os::ProcessEntry& entry : TRY(os::process_entries())) {
        const auto directory = proc::ProcessDirectory::open(entry.pid);
        const auto theirs = directory ? directory->namespace_id("net") : fail(directory.error());
        if (!theirs || *theirs != ours.st_ino) continue;
        if (proc::descends_from(entry.pid, monitor.pid).value_or(true)) continue;
        reasons.push_back(
            fmt::format("process {} of another container uses its network", entry.pid));
    }
    return reasons;
}

Result<std::vector<std::string>> network_obstacles(const Monitor& monitor, const Config& config,
                                                   const PodmanRecord& record) {
    std::vector<std::string> reasons;
    const ConfiguredNamespace* space = config.find_namespace("network");
    if (space == nullptr) return std::vector<std::string>{"it is in the host's network"};
    const auto plugs = TRY(parse_network_status(record.network));
    if (plugs.empty() && !space->path.empty()) {
        reasons.push_back(fmt::format("it has joined the network namespace {}", space->path));
    }
    if (!plugs.empty() && config.find_namespace("user") != nullptr) {
        // Podman makes it after the container, and not at all where it restores one.
        reasons.emplace_back("it has a user namespace and networks of Podman's");
    } else if (!plugs.empty()) {
        reasons = TRY(sharers_of(monitor, space->path));
    }
    if (!plugs.empty() && monitor.option("--network-backend") != "netavark") {
        reasons.emplace_back("its networks are not made by netavark");
    }
    for (const PodmanNetwork& network : record.networks) {
        if (network.driver == "bridge") continue;
        reasons.push_back(fmt::format("its network {} is a {}", network.name, network.driver));
    }
    return reasons;
}

Result<> check(const Monitor& monitor, const Config& config, const PodmanRecord& record) {
    std::vector<std::string> reasons = TRY(parse_podman_config(record.config)).obstacles;
    std::ranges::move(TRY(network_obstacles(monitor, config, record)), std::back_inserter(reasons));
    if (reasons.empty()) return {};
    return fail(Error::unsupported(
        fmt::format("Podman's container \"{}\": {}", monitor.name, fmt::join(reasons, "; "))));
}

// What an export leaves beside the container's configuration.
void remove_traces(const std::string& bundle) {
    for (const char* name :
         {"checkpoint/inventory.img", "devshm-checkpoint.tar", "network.status", "stats-dump"}) {
        static_cast<void>(os::unlinkat(os::kCwd, fmt::format("{}/{}", bundle, name)));
    }
    static_cast<void>(os::unlinkat(os::kCwd, bundle + "/checkpoint", AT_REMOVEDIR));
}

bool is_idle(const proc::ProcessDirectory& monitor) {
    const auto stat = monitor.stat();
    return !stat || stat->state == 'S';
}

// Of a monitor's descriptor: what the container writes to comes out there.
bool has_output(const std::string& path, const StreamLinks& streams) {
    const auto link = os::readlinkat(os::kCwd, path);
    if (!link) return false;
    if (*link == streams[1] || *link == streams[2]) return link->starts_with("pipe:[");
    const auto status = os::fstatat(os::kCwd, path);
    return status && S_ISCHR(status->st_mode) &&
           status->st_rdev == makedev(kMasterMajor, kMasterMinor);
}

bool is_read(const os::UniqueFd& end) {
    std::array polled = {pollfd{.fd = end.get(), .events = POLLIN, .revents = 0}};
    return !os::poll(polled, 0) || (polled[0].revents & POLLIN) == 0;
}

}  // namespace

Result<PodmanRecord> export_from_podman(const Monitor& monitor, const Config& config,
                                        const std::string& bundle) {
    const std::string runtime = monitor.option("--runtime");
    const StandIns stand_ins = TRY(StandIns::make(monitor.id));
    const os::ChildProcess guardian =
        TRY(os::run_after_death({"sh", "-c", kRemoval, "sh", stand_ins.directory()}));
    TRY(stand_ins.fill(runtime, {.runtime = monitor.runtime, .network = {}, .monitor = {}}));
    const std::string archive = stand_ins.path("export.tar");
    const auto exported =
        run_checked({.arguments = stand_ins.command(
                         monitor.podman, {"container", "checkpoint", "--leave-running",
                                          "--ignore-rootfs", "--ignore-volumes", "--compress",
                                          "none", "--export", archive, monitor.id})});
    remove_traces(bundle);
    TRY(with_context(exported, "Podman"));
    PodmanRecord record = TRY(read_archive(archive));
    record.version = TRY(podman_version(monitor.podman));
    record.log = monitor.log;
    record.networks =
        TRY(ask_for_networks(monitor.podman, TRY(parse_network_status(record.network))));
    TRY(check(monitor, config, record));
    return record;
}

// Its monitor reads at once. What it has read it writes before it sleeps again.
Result<> await_log(const Monitor& monitor, const StreamLinks& streams) {
    const auto directory = TRY(proc::ProcessDirectory::open(monitor.pid));
    const os::PidFd process = TRY(os::PidFd::open(monitor.pid));
    std::vector<os::UniqueFd> ends;
    const std::string fds = fmt::format("/proc/{}/fd", monitor.pid);
    for (const std::string& number : TRY(os::list_directory(os::kCwd, fds))) {
        if (!has_output(fmt::format("{}/{}", fds, number), streams)) continue;
        ends.push_back(TRY(process.getfd(std::stoi(number))));
    }
    const auto deadline = std::chrono::steady_clock::now() + kLogTimeout;
    while (!std::ranges::all_of(ends, is_read) || !is_idle(directory)) {
        if (std::chrono::steady_clock::now() > deadline) {
            return fail(Error::limit("conmon does not read what the container has written"));
        }
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    return {};
}

}  // namespace ferry::container
