// ferry restore: a process tree, or a container, out of image files.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/log.h"
#include "cli/command.h"
#include "cli/engine_options.h"
#include "image/network_lock.h"
#include "image/store.h"
#include "migrate/connection_lock.h"
#include "migrate/container_restore.h"
#include "os/process.h"
#include "restore/from_images.h"

namespace ferry::cli {
namespace {

struct RestoreOptions {
    std::shared_ptr<EngineOptions> engine = std::make_shared<EngineOptions>();
    bool detached = false;
    bool sibling = false;
    // Of a container; empty: as when it was dumped.
    std::string container, runtime_root, bridge, output, console_socket;
};

// The tree runs and is ours no more, so nothing from here on is an error of the restore.
Result<int> after_restore(const RestoreOptions& options, const Workplace& place,
                          const restore::RestoreReport& report) {
    const EngineOptions& engine = *options.engine;
    TRY(write_pidfile(engine, place, report.root.value));
    log_info("Restored {} pages in {} us", report.pages, report.total.count());
    log_info("Restore finished successfully. Tasks resumed.");
    if (options.detached || options.sibling) return kExitOk;
    // As CRIU: without --restore-detached the command lives as long as the root does.
    const Result<os::PidFd> root = os::PidFd::open(report.root);
    constexpr std::chrono::hours kAwhile{1};
    while (root && !TRY(root->wait_exit(kAwhile))) {
    }
    return kExitOk;
}

Result<restore::RestoreReport> restore_tree(const RestoreOptions& options,
                                            restore::RestoreOptions& engine,
                                            const image::DirectoryStore& store) {
    if (!options.container.empty()) {
        return fail(Error::invalid("the images are of a tree of processes, not of a container"));
    }
    const std::string lock = TRY(image::read_network_lock(store));
    engine.on_restored = [&lock]() -> Result<> {
        if (lock.empty()) return {};
        const Result<> unlocked = migrate::remove_connection_lock(lock);
        if (!unlocked) log_warn("network lock {}: {}", lock, unlocked.error().message());
        return {};
    };
    return restore::restore_from_images(engine);
}

Result<restore::RestoreReport> restore_container(const RestoreOptions& options,
                                                 const restore::RestoreOptions& engine,
                                                 const migrate::ContainerImages& images) {
    const std::string name = TRY(images.description.name());
    if (!options.container.empty() && options.container != name &&
        options.container != images.description.id) {
        return fail(Error::invalid(fmt::format("the images are of container \"{}\"", name)));
    }
    if (options.sibling) {
        return fail(Error::invalid("option --restore-sibling: a container has no parent"));
    }
    return migrate::restore_container(images,
                                      {.engine = engine,
                                       .runtime_root = options.runtime_root,
                                       .placement = {.uplink = {}, .bridge = options.bridge},
                                       .output = options.output,
                                       .console_socket = options.console_socket});
}

Result<int> run_restore(const RestoreOptions& options) {
    const EngineOptions& engine = *options.engine;
    const Workplace place = TRY(open_workplace(engine));
    const image::DirectoryStore store = TRY(image::DirectoryStore::open(engine.images_directory));
    restore::RestoreOptions restore;
    restore.images_directory = engine.images_directory;
    restore.work_directory = place.work_directory.get();
    restore.leave_stopped = engine.leave_stopped;
    restore.shell_job = engine.shell_job;
    restore.external_unix = engine.external_unix;
    restore.tcp_established = engine.tcp_established;
    restore.file_locks = engine.file_locks;
    restore.stage.sibling = options.sibling;
    restore.stage.join_control_groups =
        !engine.manage_cgroups.empty() && engine.manage_cgroups != "ignore";
    const auto container = TRY(migrate::read_container(store));
    const restore::RestoreReport report = container
                                              ? TRY(restore_container(options, restore, *container))
                                              : TRY(restore_tree(options, restore, store));
    if (!report.loss.empty()) log_warn("{}", report.loss);
    if (!report.warning.empty()) log_warn("waking connections: {}", report.warning);
    return after_restore(options, place, report);
}

}  // namespace

void add_restore(CLI::App& app, Invocation& invocation) {
    CLI::App* verb =
        app.add_subcommand("restore", "Bring a container or a process tree back from image files");
    auto options = std::make_shared<RestoreOptions>();
    verb->add_flag("-d,--restore-detached", options->detached,
                   "Return when the tree runs instead of waiting for its end");
    verb->add_flag("-S,--restore-sibling", options->sibling,
                   "The root becomes a child of this command's parent");
    verb->add_option("CONTAINER", options->container,
                     "The container's name; it is the one that it had");
    verb->add_option("--runtime-root", options->runtime_root,
                     "Where runc is to keep the container's state (default: as it was)");
    verb->add_option("--bridge", options->bridge,
                     "Bridge for the container's network device (default: of the same name as "
                     "before)");
    verb->add_option("--output", options->output,
                     "The file that takes what the container wrote into a pipe or to its "
                     "terminal (default: /var/log/ferry/NAME.log)");
    verb->add_option("--console-socket", options->console_socket,
                     "Unix socket that takes the master of the container's terminal (default: "
                     "none; Ferry holds it)");
    add_engine_options(*verb, options->engine);
    verb->callback([options, &invocation] {
        invocation.run = [options]() -> Result<int> {
            return with_context(run_restore(*options),
                                "restore from " + options->engine->images_directory);
        };
    });
}

}  // namespace ferry::cli
