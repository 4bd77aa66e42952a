#include "container/podman.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <ranges>
#include <tuple>

#include "container/json_access.h"
#include "container/podman_stand_in.h"
#include "container/program.h"
#include "container/runtime.h"
#include "container/undoing.h"
#include "os/fd.h"
#include "os/file_tree.h"
#include "os/process.h"

namespace ferry::container {
namespace {

constexpr std::size_t kShortIdBytes = 12;  // as `podman ps` shows it

// The words of a command line as of proc_pid_cmdline(5). There may be empty ones.
std::vector<std::string> words_of(std::string_view line) {
    if (line.ends_with('\0')) line.remove_suffix(1);
    std::vector<std::string> words;
    for (const auto part : std::views::split(line, '\0'))
        words.emplace_back(part.begin(), part.end());
    return words;
}

void read_pair(Monitor& monitor, const std::string& option, const std::string& value) {
    constexpr std::string_view kFile = "k8s-file:", kJson = "json-file:";
    if (option == "-c") monitor.id = value;
    if (option == "-n") monitor.name = value;
    if (option == "-r") monitor.runtime = value;
    for (const std::string_view kind : {kFile, kJson}) {
        if (option == "-l" && value.starts_with(kind)) monitor.log = value.substr(kind.size());
    }
    if (option == "--exit-command") monitor.podman.insert(monitor.podman.begin(), value);
    if (option == "--exit-command-arg") monitor.podman.push_back(value);
}

// Nullopt: it is no monitor of Podman's.
std::optional<Monitor> parse_monitor(std::string_view line) {
    Monitor monitor;
    monitor.runtime_root = kRuncRoot;
    const std::vector<std::string> words = words_of(line);
    std::vector<std::string> runtime;
    for (std::size_t i = 0; i + 1 < words.size(); ++i) {
        read_pair(monitor, words[i], words[i + 1]);
        if (words[i] == "--runtime-arg") runtime.push_back(words[i + 1]);
        if (words[i] == "--exit-command-arg" || words[i] == "--runtime-arg") ++i;
    }
    const auto root = std::ranges::find(runtime, "--root");
    if (root != runtime.end() && std::next(root) != runtime.end()) {
        monitor.runtime_root = *std::next(root);
    }
    const auto verb = std::ranges::find(monitor.podman, "container");
    if (monitor.id.empty() || verb == monitor.podman.end()) return std::nullopt;
    monitor.podman.erase(verb, monitor.podman.end());
    return monitor;
}

// Of a `podman container checkpoint` of a container with these, the archive would be of no use.
Result<std::vector<std::string>> obstacles_in(const Json& config) {
    std::vector<std::string> reasons;
    if (TRY(text_in(config, "rootfsImageID")).empty()) {
        reasons.emplace_back("it was made of a directory (--rootfs) and not of an image");
    }
    if (!TRY(text_in(config, "pod")).empty()) reasons.emplace_back("it is in a pod");
    if (!TRY(array_in(config, "Dependencies"))->empty()) {
        reasons.emplace_back("it depends on other containers");
    }
    if (const std::string runtime = TRY(text_in(config, "runtime")); runtime != "runc") {
        reasons.push_back(fmt::format("its runtime is {}, not runc", runtime));
    }
    return reasons;
}

Result<PodmanConfig> read_config(const Json& json) {
    PodmanConfig config{.id = TRY(text_in(json, "id")),
                        .name = TRY(text_in(json, "name")),
                        .image = TRY(text_in(json, "rootfsImageName")),
                        .image_id = TRY(text_in(json, "rootfsImageID")),
                        .volumes = {},
                        .runtime = TRY(text_in(json, "runtime")),
                        .publishes_ports = !TRY(array_in(json, "newPortMappings"))->empty(),
                        .obstacles = TRY(obstacles_in(json))};
    for (const Json& volume : *TRY(objects_in(json, "namedVolumes"))) {
        config.volumes.push_back(TRY(text_in(volume, "volumeName")));
        TRY(Runtime::check_id(config.volumes.back()));
    }
    TRY(Runtime::check_id(config.id));
    TRY(Runtime::check_id(config.name));
    return config;
}

// Runs until the container is not there any more; $1 is its id, $2 has the names of volumes and $3
// those of devices, the rest is Podman's command line.
constexpr const char* kRemoval = R"SH(id=$1 volumes=$2 devices=$3; shift 3
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  [ -z "$devices" ] || fill_in "$("$@" inspect --format "{{.NetworkSettings.SandboxKey}}" "$id")"
  "$@" rm --force --ignore --time 0 --volumes "$id"
  "$@" container exists "$id"; [ $? -eq 1 ] && break
  sleep 0.2
done >/dev/null 2>&1
[ -z "$volumes" ] || "$@" volume rm $volumes >/dev/null 2>&1
"$@" container exists "$id" 2>/dev/null; [ $? -eq 1 ])SH";

constexpr const char* kNames[] = {
    "containers.conf", kRuntimeStandIn, kCriuStandIn,         kRealRuntime,    kStandInSocket,
    "export.tar",      "import.tar",    "bundle/config.json", kNetworkStandIn, kRealNetwork,
    kMonitorStandIn,   kRealMonitor,    kOwnConfiguration};

// A monitor that began while Podman imported for us was given our stand-in, which is gone.
Result<> find_runtime(Monitor& monitor) {
    if (os::fstatat(os::kCwd, monitor.runtime)) return {};
    std::vector<std::string> command = monitor.podman;
    command.insert(command.end(), {"info", "--format", "{{.Host.OCIRuntime.Path}}"});
    monitor.runtime = last_line(TRY(with_context(run_checked({.arguments = command}), "Podman")));
    return {};
}

}  // namespace

std::string Monitor::option(std::string_view key) const {
    const auto found = std::ranges::find(podman, key);
    return found == podman.end() || std::next(found) == podman.end() ? std::string()
                                                                     : *std::next(found);
}

Result<std::optional<Monitor>> find_monitor(std::string_view text) {
    for (const auto& [pid, inode] : TRY(os::process_entries())) {
        // One that has ended meanwhile is simply not there.
        const auto name = os::read_file(fmt::format("/proc/{}/comm", pid));
        if (!name || *name != "conmon\n") continue;
        const auto line = os::read_file(fmt::format("/proc/{}/cmdline", pid));
        if (!line) continue;
        auto monitor = parse_monitor(*line);
        if (!monitor) continue;
        const bool is_id = text.size() >= kShortIdBytes && monitor->id.starts_with(text);
        if (!is_id && monitor->name != text) continue;
        monitor->pid = pid;
        TRY(find_runtime(*monitor));
        return monitor;
    }
    return std::nullopt;
}

Result<PodmanConfig> parse_podman_config(std::string_view text) {
    constexpr std::string_view kWhat = "Podman's configuration of the container";
    const Json json = TRY(parse_object(text, kWhat));
    return with_context(read_config(json), kWhat);
}

std::string to_json(const PodmanRecord& record) {
    return to_text(Json{{"version", record.version},
                        {"config", record.config},
                        {"spec", record.spec},
                        {"network", record.network},
                        {"log", record.log},
                        {"networks", to_json(record.networks)}});
}

Result<PodmanRecord> podman_record_from_json(std::string_view text) {
    const Json json = TRY(parse_object(text, "Podman's record"));
    PodmanRecord record{.version = TRY(text_in(json, "version")),
                        .config = TRY(text_in(json, "config")),
                        .spec = TRY(text_in(json, "spec")),
                        .network = TRY(text_in(json, "network")),
                        .log = TRY(text_in(json, "log")),
                        .networks = TRY(parse_podman_networks(TRY(text_in(json, "networks"))))};
    TRY(parse_podman_config(record.config));
    TRY(parse_network_status(record.network));
    return record;
}

Result<std::string> podman_version(const std::vector<std::string>& podman) {
    constexpr std::string_view kBegin = "podman version ";
    const auto said = run_program({.arguments = {podman.front(), "--version"}});
    if (!said || !said->out.starts_with(kBegin)) {
        return fail(Error::invalid(fmt::format("{} does not run here", podman.front())));
    }
    return last_line(said->out.substr(kBegin.size()));
}

std::vector<std::string> podman_removal(const std::vector<std::string>& podman,
                                        const std::string& id,
                                        const std::vector<std::string>& volumes,
                                        const std::string& devices) {
    std::vector<std::string> command = {"sh",   "-c", fmt::format("{}\n{}", kFillIn, kRemoval),
                                        "sh",   id,   fmt::format("{}", fmt::join(volumes, " ")),
                                        devices};
    std::ranges::copy(podman, std::back_inserter(command));
    return command;
}

// The private containers.conf.
std::string StandIns::configuration(const std::string& runtime, const RealPrograms& real) const {
    std::string text = "[engine]\n";
    if (!real.monitor.empty()) {
        text += fmt::format("conmon_path = [\"{}\"]\n", path(kMonitorStandIn));
    }
    if (!real.network.empty()) {
        std::vector<std::string> directories = helper_directories();
        directories.insert(directories.begin(), directory_);
        text += fmt::format("helper_binaries_dir = [\"{}\"]\n", fmt::join(directories, "\", \""));
    }
    return text +
           fmt::format("[engine.runtimes]\n\"{}\" = [\"{}\"]\n", runtime, path(kRuntimeStandIn));
}

Result<StandIns> StandIns::make(const std::string& id) {
    TRY(await_undoing(kStandInsAside, id));
    return StandIns(TRY(make_aside(kStandInsAside, id)));
}

Result<> StandIns::fill(const std::string& runtime, const RealPrograms& real) const {
    const std::string self = TRY(os::readlinkat(os::kCwd, "/proc/self/exe"));
    const std::tuple<const char*, const char*, const std::string&> links[] = {
        {kRuntimeStandIn, kRealRuntime, real.runtime},
        {kNetworkStandIn, kRealNetwork, real.network},
        {kMonitorStandIn, kRealMonitor, real.monitor}};
    for (const auto& [stand_in, name, program] : links) {
        if (program.empty()) continue;
        TRY(os::symlinkat(self, os::kCwd, path(stand_in)));
        TRY(os::symlinkat(program, os::kCwd, path(name)));
    }
    TRY(os::symlinkat(self, os::kCwd, path(kCriuStandIn)));
    TRY(os::mkdirat(os::kCwd, path("bundle"), 0700));
    if (const char* own = std::getenv("CONTAINERS_CONF"); own != nullptr && *own != '\0') {
        TRY(os::symlinkat(own, os::kCwd, path(kOwnConfiguration)));
    }
    return os::write_file(os::kCwd, path("containers.conf"), configuration(runtime, real));
}

StandIns::StandIns(StandIns&& other) noexcept
    : directory_(std::exchange(other.directory_, std::string())) {}

StandIns::~StandIns() {
    if (directory_.empty()) return;
    for (const std::string& file : files()) static_cast<void>(os::unlinkat(os::kCwd, file));
    for (const std::string& directory : directories()) {
        static_cast<void>(os::unlinkat(os::kCwd, directory, AT_REMOVEDIR));
    }
}

std::string StandIns::path(std::string_view name) const {
    return fmt::format("{}/{}", directory_, name);
}

std::vector<std::string> StandIns::command(const std::vector<std::string>& podman,
                                           std::vector<std::string> arguments) const {
    const char* path = std::getenv("PATH");
    std::vector<std::string> all = {
        "env", "CONTAINERS_CONF=" + this->path("containers.conf"),
        fmt::format("PATH={}:{}", directory_, path == nullptr ? "/usr/sbin:/usr/bin" : path)};
    std::ranges::copy(podman, std::back_inserter(all));
    std::ranges::move(arguments, std::back_inserter(all));
    return all;
}

std::vector<std::string> StandIns::files() const {
    std::vector<std::string> files;
    for (const char* name : kNames) files.push_back(path(name));
    return files;
}

std::vector<std::string> StandIns::directories() const {
    return {path("bundle"), directory_};
}

}  // namespace ferry::container
