#include "cli/engine_options.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string_view>

#include "image/store.h"

namespace ferry::cli {

namespace {

enum class Value : bool { No, Yes };

struct ForeignOption {
    const char* name;
    Value value;
};

// They allow what Ferry refuses by name when it is there, or tune what Ferry does otherwise;
// without it they change nothing.
constexpr ForeignOption kWithoutEffect[] = {
    {"--no-default-config", Value::No},
    {"--pre-dump-mode", Value::Yes},
    {"--skip-in-flight", Value::No},
    {"--link-remap", Value::No},
    {"--ghost-fiemap", Value::No},
    {"--no-ghost-fiemap", Value::No},
    {"--evasive-devices", Value::No},
    {"--force-irmap", Value::No},
    {"--irmap-scan-path", Value::Yes},
    {"--weak-sysctls", Value::No},
    {"--cpu-cap", Value::Yes},
    {"--log-pid", Value::No},
    {"--display-stats", Value::No},
    {"--mntns-compat-mode", Value::No},
    {"--no-mntns-compat-mode", Value::No},
};

constexpr ForeignOption kRefused[] = {
    {"--tcp-close", Value::No},
    {"--track-mem", Value::No},
    {"--prev-images-dir", Value::Yes},
    {"--auto-dedup", Value::No},
    {"--page-server", Value::No},
    {"--address", Value::Yes},
    {"--port", Value::Yes},
    {"--lazy-pages", Value::No},
    {"--status-fd", Value::Yes},
    {"--stream", Value::No},
    {"--tls", Value::No},
    {"--empty-ns", Value::Yes},
    {"--join-ns", Value::Yes},
    {"--inherit-fd", Value::Yes},
    {"--external", Value::Yes},
    {"--ext-mount-map", Value::Yes},
    {"--veth-pair", Value::Yes},
    {"--action-script", Value::Yes},
    {"--freeze-cgroup", Value::Yes},
    {"--cgroup-root", Value::Yes},
    {"--cgroup-props", Value::Yes},
    {"--cgroup-yard", Value::Yes},
    {"--lsm-profile", Value::Yes},
    {"--config", Value::Yes},
    {"--unprivileged", Value::No},
    {"--exec-cmd", Value::No},
    {"--allow-uprobes", Value::No},
};

// Only known to readers of CRIU's manual: not part of our help.
constexpr const char* kHiddenGroup = "";

void add_foreign(CLI::App& verb, const std::shared_ptr<EngineOptions>& options) {
    for (const ForeignOption& option : kWithoutEffect) {
        CLI::Option* added =
            option.value == Value::Yes
                ? verb.add_option(option.name, [](const CLI::results_t&) { return true; })
                : verb.add_flag(option.name);
        added->group(kHiddenGroup);
    }
    for (const ForeignOption& option : kRefused) {
        const std::string name = option.name;
        const auto note = [options, name](const CLI::results_t&) {
            options->refused.push_back(name);
            return true;
        };
        CLI::Option* added = verb.add_option(name, note);
        added->group(kHiddenGroup);
        if (option.value == Value::No) added->expected(0);
    }
}

}  // namespace

void add_engine_options(CLI::App& verb, const std::shared_ptr<EngineOptions>& options) {
    verb.add_option("-D,--images-dir", options->images_directory, "Directory of the image files")
        ->capture_default_str();
    verb.add_option("-W,--work-dir", options->work_directory,
                    "Directory for logs, pid files and statistics (default: the images directory)");
    verb.add_option("-o,--log-file", options->log_file, "Log file, in the work directory");
    verb.add_option("--verbosity", options->verbosity,
                    "-v1 errors, -v2 warnings, -v3 information, -v4 everything; also -vvvv")
        ->capture_default_str()
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    verb.add_option("--pidfile", options->pidfile, "Write the pid of the tree's root here");
    verb.add_flag("--tcp-established", options->tcp_established,
                  "Carry TCP connections that are established");
    verb.add_flag("-j,--shell-job", options->shell_job,
                  "The tree is a job of a shell: its terminal becomes that of ferry restore");
    verb.add_flag("-x,--ext-unix-sk", options->external_unix,
                  "Unix sockets may be connected to processes outside the tree");
    verb.add_flag("-l,--file-locks", options->file_locks, "Carry locks of files");
    verb.add_option("--ghost-limit", options->ghost_bytes_max,
                    "Carry deleted files up to this size, bytes or with K, M, G")
        ->transform(CLI::AsSizeValue(false))
        ->check(CLI::Range(std::uint64_t{0}, image::kStoredFileBytesMax))
        ->default_str("1M");
    verb.add_flag("-s,--leave-stopped", options->leave_stopped,
                  "Leave the tree stopped at the end");
    verb.add_option("--manage-cgroups", options->manage_cgroups,
                    "Put tasks into the control groups they were in, where those exist")
        ->check(CLI::IsMember({"none", "props", "soft", "full", "strict", "ignore"}));
    verb.add_option("--network-lock", options->network_lock,
                    "How connections are kept silent between dump and restore")
        ->check(CLI::IsMember({"nftables", "iptables", "skip"}))
        ->capture_default_str();
    verb.add_option("-r,--root", options->root, "Root of the tree's files; only / is supported");
    verb.add_option("--timeout", options->timeout_seconds, "Seconds to wait for a transient state")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    add_foreign(verb, options);
}

Result<Workplace> open_workplace(const EngineOptions& options) {
    if (!options.refused.empty()) {
        return fail(Error::invalid(
            fmt::format("option {} is not supported by this version", options.refused.front())));
    }
    if (options.root != "/") {
        return fail(Error::invalid("option --root: only / is supported by this version"));
    }
    const std::string& work =
        options.work_directory.empty() ? options.images_directory : options.work_directory;
    Workplace place;
    place.work_directory =
        TRY(with_context(os::open(work, O_RDONLY | O_DIRECTORY),
                         options.work_directory.empty() ? "images directory" : "work directory"));
    TRY(open_log(place.work_directory.get(), options.log_file, options.verbosity));
    return place;
}

Result<> write_pidfile(const EngineOptions& options, const Workplace& place, pid_t pid) {
    if (options.pidfile.empty()) return {};
    os::UniqueFd file = TRY(with_context(
        os::openat(place.work_directory.get(), options.pidfile, O_WRONLY | O_CREAT | O_TRUNC, 0644),
        "pid file"));
    TRY(os::write_all(file.get(), os::as_bytes(fmt::format("{}", pid))));
    return std::move(file).close();
}

}  // namespace ferry::cli
