#include "container/podman_import.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <iterator>
#include <sstream>

#include "base/log.h"
#include "container/json_access.h"
#include "container/mark.h"
#include "container/podman_socket.h"
#include "container/podman_stand_in.h"
#include "container/podman_users.h"
#include "container/program.h"
#include "container/tmpfs_archive.h"
#include "os/inet.h"
#include "os/sweeper.h"

namespace ferry::container {
namespace {

constexpr std::chrono::seconds kStandInTimeout{60};
constexpr std::chrono::milliseconds kPoll{20};
constexpr std::chrono::seconds kEndTimeout{20};

// As Podman is configured here. A stand-in's containers.conf replaces all others, so what they say
// has to be said again. One value a line, in the order of kOptions; the last ones are no options.
constexpr const char* kAsk =
    "{{.Store.GraphRoot}}\n{{.Store.RunRoot}}\n{{.Store.VolumePath}}\n{{.Host.CgroupManager}}\n"
    "{{.Host.EventLogger}}\n{{.Host.NetworkBackend}}\n{{.Host.OCIRuntime.Path}}\n"
    "{{.Host.Conmon.Path}}\n{{.Store.GraphDriverName}}";
constexpr std::array kOptions = {"--root",           "--runroot",        "--volumepath",
                                 "--cgroup-manager", "--events-backend", "--network-backend"};

struct Setup {
    std::vector<std::string> podman;
    std::string runtime, monitor;  // their programs
    std::string containers;        // where it keeps what it has of each container
};

Result<Setup> ask(const std::string& runtime) {
    const std::string answer = TRY(with_context(
        run_checked({.arguments = {"podman", "--runtime", runtime, "info", "--format", kAsk}}),
        "Podman"));
    Setup setup{.podman = {"podman"}, .runtime = {}, .monitor = {}, .containers = {}};
    std::istringstream lines(answer);
    std::string line, root;
    for (const char* option : kOptions) {
        std::getline(lines, line);
        if (root.empty()) root = line;
        if (!line.empty()) setup.podman.insert(setup.podman.end(), {option, line});
    }
    std::getline(lines, setup.runtime);
    std::getline(lines, setup.monitor);
    std::getline(lines, line);
    setup.containers = fmt::format("{}/{}-containers", root, line);
    return setup;
}

TmpfsEntry entry_of(const char* path, std::string content) {
    TmpfsEntry entry;
    entry.path = path;
    entry.mode = 0600;
    entry.size = content.size();
    if (!content.empty()) entry.extents.push_back({.offset = 0, .bytes = std::move(content)});
    return entry;
}

// What `podman container restore --import` wants to find in an archive.
Result<std::string> archive_of(const PodmanRecord& record) {
    TmpfsChange files;
    files.entries.push_back(entry_of("config.dump", TRY(with_same_ids(record.config))));
    files.entries.push_back(entry_of("spec.dump", record.spec));
    files.entries.push_back(entry_of("network.status", record.network));
    TmpfsEntry directory;
    directory.path = "checkpoint";
    directory.kind = EntryKind::Directory;
    directory.mode = 0700;
    files.entries.push_back(directory);
    files.entries.push_back(entry_of("checkpoint/inventory.img", ""));
    return encode_tmpfs(files);
}

Result<Finished> run_podman(std::vector<std::string> command, std::vector<std::string> arguments) {
    std::ranges::move(arguments, std::back_inserter(command));
    return run_program({.arguments = command});
}

Result<bool> has(const std::vector<std::string>& podman, const char* kind,
                 const std::string& name) {
    const Finished finished = TRY(run_podman(podman, {kind, "exists", name}));
    if (finished.status == 0 || finished.status == 1) return finished.status == 0;
    return fail(Error::peer(last_line(finished.err)));
}

Result<> check_names(const std::vector<std::string>& podman, const PodmanConfig& config) {
    for (const std::string& name : {config.id, config.name}) {
        if (!TRY(has(podman, "container", name))) continue;
        return fail(Error::invalid(fmt::format("Podman has a container {} here", name)));
    }
    return {};
}

// The mark of a volume that the container has left here and nobody else uses.
Result<std::string> mark_of_volume(const std::vector<std::string>& podman,
                                   const std::string& name) {
    const Finished where =
        TRY(run_podman(podman, {"volume", "inspect", "--format", "{{.Mountpoint}}", name}));
    const std::string mark = mark_of(last_line(where.out));
    if (where.status != 0 || !os::fstatat(os::kCwd, mark)) {
        return fail(Error::invalid(fmt::format("Podman has a volume {} here", name)));
    }
    const Finished users =
        TRY(run_podman(podman, {"ps", "--all", "--quiet", "--filter", "volume=" + name}));
    if (users.status == 0 && users.out.empty()) return mark;
    return fail(Error::invalid(
        fmt::format("Podman's volume {} is used by a container here ({})", name,
                    users.status == 0 ? last_line(users.out) : last_line(users.err))));
}

struct Volumes {
    std::vector<std::string> missing;  // their names
    std::vector<std::string> marks;    // of the others
};

Result<Volumes> look_at_volumes(const std::vector<std::string>& podman,
                                const PodmanConfig& config) {
    Volumes volumes;
    for (const std::string& name : config.volumes) {
        if (TRY(has(podman, "volume", name))) {
            volumes.marks.push_back(TRY(mark_of_volume(podman, name)));
        } else {
            volumes.missing.push_back(name);
        }
    }
    return volumes;
}

Result<> check_image(const std::vector<std::string>& podman, const PodmanConfig& config) {
    const Finished finished =
        TRY(run_podman(podman, {"image", "inspect", "--format", "{{.Id}}", config.image}));
    const std::string id = last_line(finished.out);
    if (finished.status == 0 && id == config.image_id) return {};
    return fail(Error::invalid(fmt::format(
        "Podman has no image {} ({}) here: {}", config.image, config.image_id.substr(0, 12),
        finished.status == 0 ? "the one of that name is " + id.substr(0, 12) : "load it first")));
}

}  // namespace

Result<std::unique_ptr<PodmanImport>> PodmanImport::start(const PodmanRecord& record,
                                                          const Runtime& runtime) {
    PodmanConfig config = TRY(parse_podman_config(record.config));
    if (!config.obstacles.empty()) {
        return fail(Error::unsupported(fmt::format("{}", fmt::join(config.obstacles, "; "))));
    }
    const std::string version = TRY(podman_version({"podman"}));
    if (version != record.version) {
        return fail(Error::invalid(
            fmt::format("podman is {} here and {} at the source", version, record.version)));
    }
    const Setup setup = TRY(ask(config.runtime));
    const std::vector<PodmanPlug> plugs = TRY(parse_network_status(record.network));
    TRY(compare_networks(TRY(ask_for_networks(setup.podman, plugs)), record.networks));
    TRY(check_names(setup.podman, config));
    TRY(check_ids(record.config, {.containers = setup.containers + "/containers.json"}));
    Volumes volumes = TRY(look_at_volumes(setup.podman, config));
    TRY(check_image(setup.podman, config));
    const std::string netavark = plugs.empty() ? "" : TRY(find_netavark());
    // From here on there is something to be undone.
    StandIns stand_ins = TRY(StandIns::make(config.id));
    std::unique_ptr<PodmanImport> import(
        new PodmanImport(std::move(config), std::move(stand_ins), runtime));
    import->devices_ = device_names(plugs);
    import->podman_ = setup.podman;
    import->made_volumes_ = std::move(volumes.missing);
    import->marks_ = std::move(volumes.marks);
    import->guardian_ = TRY(os::undo_after_death(
        {.command = podman_removal(import->podman_, import->config_.id, import->made_volumes_,
                                   import->devices_),
         .until_gone = fmt::format("{}/{}", setup.containers, import->config_.id),
         .files = import->stand_ins_.files(),
         .directories = import->stand_ins_.directories()}));
    TRY(import->stand_ins_.fill(
        import->config_.runtime,
        {.runtime = setup.runtime, .network = netavark, .monitor = setup.monitor}));
    TRY(import->begin(record));
    return import;
}

PodmanImport::~PodmanImport() {
    if (made_) take_back();
}

Result<> PodmanImport::begin(const PodmanRecord& record) {
    const std::string archive = stand_ins_.path("import.tar");
    TRY(os::write_file(os::kCwd, archive, TRY(archive_of(record))));
    const os::UniqueFd listener = TRY(listen_for_stand_in(stand_ins_.path(kStandInSocket)));
    said_ = TRY(os::memfd_create("podman", 0));
    os::Launch launch{
        .arguments = stand_ins_.command(podman_, {"container", "restore", "--ignore-rootfs",
                                                  "--ignore-volumes", "--import", archive}),
        .stderr_fd = said_.get(),
        // In the middle of its work it would leave a container that is half there.
        .dies_with_parent = false};
    made_ = true;
    restore_ = TRY(os::ChildProcess::start(launch));
    TRY(await_stand_in(listener.get()));
    const auto monitor = TRY(find_monitor(config_.id));
    if (!monitor) return fail(Error::gone("the container's monitor has ended"));
    log_ = monitor->log;
    return {};
}

Result<> PodmanImport::await_stand_in(int listener) {
    const auto deadline = std::chrono::steady_clock::now() + kStandInTimeout;
    while (!await_readable(listener, kPoll)) {
        if (TRY(restore_.wait(std::chrono::milliseconds(0)))) return failure();
        if (std::chrono::steady_clock::now() > deadline) {
            return fail(Error::limit("Podman does not come to call its runtime"));
        }
    }
    return take_stand_in(TRY(os::accept4(listener, SOCK_CLOEXEC)));
}

Result<> PodmanImport::take_stand_in(os::UniqueFd connection) {
    stand_in_ = std::move(connection);
    TRY(await_readable(stand_in_.get(), kStandInTimeout));
    SocketMessage hello = TRY(receive_message(stand_in_.get()));
    const Json json = TRY(parse_object(hello.text, "the stand-in's message"));
    if (TRY(text_in(json, "id")) != config_.id || hello.fds.size() != 3) {
        return fail(Error::corrupt("Podman restores another container"));
    }
    bundle_ = TRY(text_in(json, "bundle"));
    spec_ = TRY(os::read_file(bundle_ + "/config.json"));
    streams_ = std::move(hello.fds);
    return {};
}

Result<Streams> PodmanImport::take_streams() {
    if (!TRY(parse_config(spec_)).terminal) return Streams::given(std::move(streams_));
    return Streams::terminal({});
}

std::unexpected<Error> PodmanImport::failure() {
    const Result<std::string> said = os::read_file(fmt::format("/proc/self/fd/{}", said_.get()));
    return fail(Error::peer("Podman: " + last_line(said.value_or("it has failed"))));
}

Result<std::vector<files::TreePlace>> PodmanImport::places(const std::vector<FileTree>& trees,
                                                           const Config& config) const {
    std::vector<files::TreePlace> places;
    for (const FileTree& tree : trees) {
        files::TreePlace place{.path = {}, .is_directory = tree.place.is_directory};
        const auto mount = std::ranges::find_if(config.mounts, [&](const ConfiguredMount& other) {
            return other.is_bind() && other.destination == tree.point;
        });
        if (tree.point == kLogPoint) {
            place.path = log_;
        } else if (tree.point == "/") {
            place.path = config.rootfs;
        } else if (mount == config.mounts.end()) {
            return fail(Error::corrupt(fmt::format("nothing is mounted on {} here", tree.point)));
        } else if (tree.is_writable && !tree.is_hosts) {
            place.path = mount->source;
        }
        if (!place.path.empty()) {
            const struct stat status = TRY(os::fstatat(os::kCwd, place.path));
            if (S_ISDIR(status.st_mode) != place.is_directory) {
                return fail(Error::invalid(place.path + " is something else here"));
            }
        }
        places.push_back(std::move(place));
    }
    return places;
}

Result<> PodmanImport::create(const Runtime::Creation& creation) {
    TRY(send_message(stand_in_.get(), to_text({{"create", creation.bundle}}), creation.passed));
    TRY(await_readable(stand_in_.get(), kStandInTimeout));
    const SocketMessage answer = TRY(receive_message(stand_in_.get()));
    const Json json = TRY(parse_object(answer.text, "the stand-in's answer"));
    if (TRY(number_in(json, "status")) == 0) return runtime_.start(config_.id);
    return fail(Error::peer(TRY(text_in(json, "error"))));
}

Result<> PodmanImport::settle() {
    TRY(send_message(stand_in_.get(), to_text({{"end", 0}}), {}));
    const auto status = TRY(restore_.wait(kEndTimeout));
    if (status == 0) return {};
    return failure();
}

bool PodmanImport::commit() {
    for (const std::string& mark : marks_) {
        const auto removed = os::unlinkat(os::kCwd, mark);
        if (!removed) log_error("{}: remove it", removed.error().message());
    }
    made_ = false;
    guardian_ = {};
    return false;
}

// The stand-in ends with its connection, and Podman then removes what it was importing; if it had
// come to its end, the container is removed like any other.
void PodmanImport::take_back() {
    stand_in_.reset();
    if (restore_) {
        const auto ended = restore_.wait(kEndTimeout);
        if (!ended || !*ended) log_warn("Podman has not ended, ignoring");
    }
    const auto removed =
        run_checked({.arguments = podman_removal(podman_, config_.id, made_volumes_, devices_)});
    if (!removed) log_warn("{}", removed.error().message());
    made_ = false;
    guardian_ = {};
}

}  // namespace ferry::container
