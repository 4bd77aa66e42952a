#include "lab/oci_config.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "os/fd.h"

namespace ferry::lab {
namespace {

using Json = nlohmann::json;

Json mount(const char* destination, const char* type, const char* source, Json options) {
    return {{"destination", destination},
            {"type", type},
            {"source", source},
            {"options", std::move(options)}};
}

Json process(std::vector<std::string> arguments) {
    // Of the daemons: change users (setuid, setgid), own the files they make (chown, fowner,
    // dac_override), end each other's workers (kill), listen on port 80 and 7 (net_bind_service).
    const Json capabilities = {"CAP_CHOWN",  "CAP_DAC_OVERRIDE", "CAP_FOWNER",          "CAP_KILL",
                               "CAP_SETGID", "CAP_SETUID",       "CAP_NET_BIND_SERVICE"};
    return {
        {"terminal", false},
        {"user", {{"uid", 0}, {"gid", 0}}},
        {"args", std::move(arguments)},
        {"env", {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}},
        {"cwd", "/"},
        {"capabilities",
         {{"bounding", capabilities}, {"effective", capabilities}, {"permitted", capabilities}}},
        {"rlimits", {{{"type", "RLIMIT_NOFILE"}, {"hard", 4096}, {"soft", 4096}}}},
        {"noNewPrivileges", true}};
}

Json mounts() {
    return {
        mount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}),
        mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=64k"}),
        mount("/dev/pts", "devpts", "devpts",
              {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}),
        mount("/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=64m"}),
        mount("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}),
        mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}),
        mount("/run", "tmpfs", "tmpfs", {"nosuid", "nodev", "mode=755", "size=64m"}),
        mount("/tmp", "tmpfs", "tmpfs", {"nosuid", "nodev", "mode=1777", "size=256m"}),
    };
}

Json namespaces() {
    Json all = Json::array();
    for (const char* type : {"pid", "network", "ipc", "uts", "mount"}) {
        all.push_back({{"type", type}});
    }
    return all;
}

}  // namespace

Json site_config() {
    return service_config("site", {"/usr/lib/ferry-site/init"});
}

Json service_config(const std::string& hostname, std::vector<std::string> arguments) {
    return {{"ociVersion", "1.0.2"},
            {"process", process(std::move(arguments))},
            {"root", {{"path", "rootfs"}, {"readonly", false}}},
            {"hostname", hostname},
            {"mounts", mounts()},
            {"linux",
             {{"namespaces", namespaces()},
              {"resources", {{"devices", {{{"allow", false}, {"access", "rwm"}}}}}},
              {"maskedPaths",
               {"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/sched_debug", "/sys/firmware"}},
              {"readonlyPaths",
               {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}}}}};
}

void set_limits(Json& config, const ContainerLimits& limits) {
    Json& linux_part = config["linux"];
    if (!limits.cgroups_path.empty()) linux_part["cgroupsPath"] = limits.cgroups_path;
    Json& resources = linux_part["resources"];
    if (limits.memory_bytes != 0) resources["memory"]["limit"] = limits.memory_bytes;
    if (limits.processes != 0) resources["pids"]["limit"] = limits.processes;
}

Result<Json> read_config(const std::string& bundle) {
    const auto no_bundle = [&](const std::string& why) {
        return fail(Error::invalid(fmt::format("{} is no OCI bundle: {}", bundle, why)));
    };
    const Result<std::string> text = os::read_file(bundle + "/config.json");
    if (!text) return no_bundle("it has no config.json that can be read");
    Json config = Json::parse(*text, nullptr, false);
    if (!config.is_object() || !config["process"].is_object() || !config["linux"].is_object()) {
        return no_bundle("its config.json describes no Linux container");
    }
    const Json& root = config["root"];
    const bool named = root.is_object() && root.contains("path") && root["path"].is_string();
    const std::string path = named ? root["path"].get<std::string>() : "";
    const std::filesystem::path rootfs = std::filesystem::path(bundle) / path;
    std::error_code ignored;
    if (path.empty() || !std::filesystem::is_directory(rootfs, ignored)) {
        return no_bundle("there is no directory " + rootfs.string());
    }
    return config;
}

}  // namespace ferry::lab
