// ferry swrk: in CRIU's place for a container runtime, `runc checkpoint` and `runc restore`.
//
// A container is dumped as `ferry dump NAME` does it, but for its end: the runtime itself forgets
// it. For a restore the runtime has made the container's control group and waits for a process. The
// container is made as always, by `runc run` around a stub of ours, but under a root directory of
// its own, of which only the processes are kept: the runtime that asks describes the container
// anew. Their first process is its child, since runc reaps orphans meanwhile.
#include <fcntl.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/criu_configuration.h"
#include "cli/criu_rpc.h"
#include "cli/log_file.h"
#include "container/container.h"
#include "container/control_groups.h"
#include "image/store.h"
#include "migrate/container_dump.h"
#include "migrate/container_restore.h"
#include "os/paths.h"
#include "os/sweeper.h"
#include "proc/process_directory.h"
#include "proc/text.h"

namespace ferry::cli {
namespace {

// Of a descriptor of the peer's.
std::string peers(const RpcSocket& socket, int fd) {
    return fmt::format("/proc/{}/fd/{}", socket.peer(), fd);
}

std::string last_part(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

std::string first_part(const std::string& path) {
    return path.substr(0, std::min(path.rfind('/'), path.size()));
}

// The log is open from here on. The work directory.
Result<os::UniqueFd> open_workplace(const RpcSocket& socket, RpcOptions& options) {
    const int fd = options.work_directory >= 0 ? options.work_directory : options.images_directory;
    os::UniqueFd directory =
        TRY(with_context(os::open(peers(socket, fd), O_RDONLY | O_DIRECTORY), "work directory"));
    if (options.log_file.find('/') != std::string::npos) {
        return fail(Error::invalid("the log file's name has a directory"));
    }
    TRY(open_log(directory.get(), options.log_file, options.verbosity));
    if (!options.refused.empty()) {
        return fail(Error::unsupported(
            fmt::format("option {} is not supported by Ferry", options.refused)));
    }
    const auto configured = os::read_file(options.configuration);
    if (configured) {
        TRY(with_context(apply_configuration(*configured, options), options.configuration));
    }
    return directory;
}

// Where the runtime that asks keeps its states: `runc --root DIR ...`.
Result<std::string> runtime_root(Pid runtime) {
    const std::string words = TRY(os::read_file(fmt::format("/proc/{}/cmdline", runtime)));
    bool is_next = false;
    for (std::string_view rest = words; !rest.empty();) {
        std::string_view word = proc::take_until(rest, '\0');
        if (is_next) return std::string(word);
        if (!word.starts_with('-')) continue;
        word.remove_prefix(word.starts_with("--") ? 2 : 1);
        is_next = word == "root";
        constexpr std::string_view kWithValue = "root=";
        if (word.starts_with(kWithValue)) return std::string(word.substr(kWithValue.size()));
    }
    return container::kRuncRoot;
}

Result<std::string> name_of_container(Pid first_process, const std::string& root) {
    for (const std::string& name : TRY(os::list_directory(os::kCwd, root))) {
        const auto found = container::find(name, {.root = root});
        if (found && found->state.init == first_process) return name;
    }
    return fail(Error::unsupported(fmt::format(
        "process {} is no container's under {}: ferry dump -t dumps trees", first_process, root)));
}

Result<> serve_dump(RpcSocket& socket, RpcKind kind, RpcOptions options) {
    const os::UniqueFd work = TRY(open_workplace(socket, options));
    const std::string root = TRY(runtime_root(socket.peer()));
    const std::string name = TRY(name_of_container(options.root_process, root));
    auto store = TRY(image::DirectoryStore::open(peers(socket, options.images_directory)));
    TRY(store.probe_writable());
    const migrate::ContainerDumpOptions dump = {
        .name = name,
        .runtime_root = root,
        .files = {.tcp_established = options.tcp_established,
                  .shell_job = options.shell_job,
                  .external_unix = options.external_unix,
                  .file_locks = options.file_locks,
                  .ghost_bytes_max = options.ghost_bytes_max},
        .after = options.leave_running ? dump::AfterDump::LeaveRunning : dump::AfterDump::Kill,
        .work_directory = work.get(),
        .parent = options.parent,
        .runtime_is_told = true};
    if (kind == RpcKind::PreDump) {
        const auto report = TRY(migrate::pre_dump_container(dump, store));
        log_info("Pre-dumped {} pages", report.pages);
        return {};
    }
    const auto report = TRY(migrate::dump_container(dump, store));
    log_info("Dumped {} pages, frozen for {} us", report.pages, report.frozen.count());
    if (options.wants_notices) TRY(socket.notify("post-dump"));
    log_info("Dumping finished successfully");
    return {};
}

// A runtime root that nobody else knows. What is left in it is gone with this object.
class PrivateRoot {
  public:
    static Result<PrivateRoot> make(const std::string& id) {
        PrivateRoot root(TRY(os::mkdtemp(fmt::format("/run/ferry-runtime-{}-", id))), id);
        root.sweeper_ = TRY(os::sweep_after_death({root.path_}));
        return root;
    }
    PrivateRoot(PrivateRoot&& other) noexcept
        : path_(std::exchange(other.path_, {})),
          id_(std::move(other.id_)),
          sweeper_(std::move(other.sweeper_)) {}
    PrivateRoot& operator=(PrivateRoot&&) = delete;
    ~PrivateRoot() {
        if (path_.empty()) return;
        const std::string of_container = path_ + "/" + id_;
        static_cast<void>(os::unlinkat(os::kCwd, of_container + "/state.json"));
        static_cast<void>(os::unlinkat(os::kCwd, of_container, AT_REMOVEDIR));
        const auto removed = os::unlinkat(os::kCwd, path_, AT_REMOVEDIR);
        if (!removed) log_warn("{}, ignoring", removed.error().message());
    }
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    PrivateRoot(std::string path, std::string id) : path_(std::move(path)), id_(std::move(id)) {}
    std::string path_, id_;
    os::ChildProcess sweeper_;
};

// The container as it is called here, from where its bundle is, and as that says: runc names it in
// the path of its root file system, ROOT/ID/criu-root, and has gone into the bundle. Podman writes
// the bundle anew.
Result<> settle_container(const RpcSocket& socket, const RpcOptions& options,
                          container::Description& description) {
    if (last_part(options.root_directory) != "criu-root") {
        return fail(Error::unsupported(
            fmt::format("{} is not where runc has a root file system", options.root_directory)));
    }
    description.id = last_part(first_part(options.root_directory));
    description.bundle = TRY(os::readlinkat(os::kCwd, fmt::format("/proc/{}/cwd", socket.peer())));
    description.config = TRY(os::read_file(description.bundle + "/config.json"));
    return {};
}

Result<Pid> serve_restore(RpcSocket& socket, RpcOptions options) {
    const os::UniqueFd work = TRY(open_workplace(socket, options));
    const std::string images_path = peers(socket, options.images_directory);
    const auto store = TRY(image::DirectoryStore::open(images_path));
    auto images = TRY(migrate::read_container(store));
    if (!images)
        return fail(Error::unsupported("the images are of no container that Ferry dumped"));
    if (images->description.podman) {
        return fail(Error::unsupported("the images are of a container of Podman: ferry restore"));
    }
    TRY(settle_container(socket, options, images->description));
    // The runtime has put us into the container's group, which has to be empty for its own.
    TRY(container::join_groups_of(socket.peer()));
    const PrivateRoot root = TRY(PrivateRoot::make(images->description.id));

    migrate::ContainerRestoreOptions restore;
    restore.engine.images_directory = images_path;
    restore.engine.work_directory = work.get();
    restore.engine.shell_job = options.shell_job;
    restore.engine.external_unix = options.external_unix;
    restore.engine.tcp_established = options.tcp_established;
    restore.engine.file_locks = options.file_locks;
    restore.runtime_root = root.path();
    restore.streams = {0, 1, 2};
    restore.take_console = [&](const os::UniqueFd& master) {
        return socket.give_master(master.get());
    };
    if (options.wants_notices) {
        restore.on_made = [&](Pid pid) { return socket.notify("setup-namespaces", pid); };
        restore.on_complete = [&](Pid pid) { return socket.notify("post-restore", pid); };
    }
    const auto report = TRY(migrate::restore_container(*images, restore));
    log_info("Restored {} pages in {} us", report.pages, report.total.count());
    log_info("Restore finished successfully. Tasks resumed.");
    return report.made_root;
}

Result<Pid> serve(RpcSocket& socket, const RpcRequest& request) {
    if (!request.options) return fail(Error::invalid("a request without options"));
    switch (request.kind) {
        case RpcKind::Dump:
        case RpcKind::PreDump:
            TRY(serve_dump(socket, request.kind, *request.options));
            return Pid{};
        case RpcKind::Restore:
            return serve_restore(socket, *request.options);
        default:
            return fail(Error::unsupported(fmt::format("request {} is not supported by Ferry",
                                                       std::to_underlying(request.kind))));
    }
}

Result<int> run_swrk(int fd) {
    RpcSocket socket = TRY(RpcSocket::of(fd));
    for (;;) {
        const auto request = TRY(socket.receive());
        if (!request) return kExitOk;
        if (request->kind == RpcKind::Version) {
            TRY(socket.answer_version());
        } else if (request->kind == RpcKind::FeatureCheck) {
            TRY(socket.answer_features());
        } else if (const auto pid = serve(socket, *request)) {
            TRY(socket.answer(request->kind, *pid));
        } else {
            log_error("{}", pid.error().message());
            TRY(socket.answer_error(request->kind, pid.error()));
            return kExitFailure;
        }
    }
}

}  // namespace

void add_swrk(CLI::App& app, Invocation& invocation) {
    CLI::App* verb =
        app.add_subcommand("swrk", "Serve a container runtime that takes this program for CRIU");
    verb->group("");
    auto fd = std::make_shared<int>(-1);
    verb->add_option("FD", *fd, "The runtime's socket")->required()->check(CLI::NonNegativeNumber);
    verb->callback([fd, &invocation] { invocation.run = [fd] { return run_swrk(*fd); }; });
}

}  // namespace ferry::cli
