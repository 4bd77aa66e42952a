// ferry dump: a process tree, or a container, into image files.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "base/log.h"
#include "cli/command.h"
#include "cli/engine_options.h"
#include "container/runtime.h"
#include "dump/source_tree.h"
#include "dump/to_images.h"
#include "image/network_lock.h"
#include "image/store.h"
#include "migrate/connection_lock.h"
#include "migrate/container_dump.h"

namespace ferry::cli {
namespace {

struct DumpOptions {
    std::shared_ptr<EngineOptions> engine = std::make_shared<EngineOptions>();
    pid_t pid = 0;
    std::string container;  // instead of a pid
    std::string runtime_root = container::kRuncRoot;
    bool leave_running = false;
};

dump::AfterDump after_dump(const DumpOptions& options) {
    if (options.engine->leave_stopped) return dump::AfterDump::LeaveStopped;
    if (options.leave_running) return dump::AfterDump::LeaveRunning;
    return dump::AfterDump::Kill;
}

resources::FileOptions file_options(const EngineOptions& engine) {
    return {.tcp_established = engine.tcp_established,
            .shell_job = engine.shell_job,
            .external_unix = engine.external_unix,
            .file_locks = engine.file_locks,
            .ghost_bytes_max = engine.ghost_bytes_max};
}

Result<dump::ToImagesReport> dump_tree(const DumpOptions& options, const Workplace& place,
                                       image::DirectoryStore& store) {
    const EngineOptions& engine = *options.engine;
    const Pid root{options.pid};
    dump::SourceTree tree =
        TRY(dump::SourceTree::open(root, {.files = file_options(engine), .is_container = false}));
    const dump::AfterDump after = after_dump(options);
    std::optional<migrate::ConnectionLock> lock;
    dump::ToImagesOptions to_images;
    to_images.after = after;
    to_images.work_directory = place.work_directory.get();
    if (engine.tcp_established && engine.network_lock != "skip") {
        to_images.on_frozen = [&]() -> Result<> {
            lock = TRY(migrate::ConnectionLock::install(root, image::network_lock_name(root)));
            return {};
        };
        to_images.on_thaw = [&lock] { lock.reset(); };
    }
    const dump::ToImagesReport report = TRY(dump::dump_to_images(tree, store, to_images));
    // The connections live on only in the images: their peers must not be told otherwise.
    if (lock && after == dump::AfterDump::Kill) TRY(std::move(*lock).keep());
    return report;
}

Result<int> run_dump(const DumpOptions& options) {
    const EngineOptions& engine = *options.engine;
    const Workplace place = TRY(open_workplace(engine));
    image::DirectoryStore store = TRY(image::DirectoryStore::open(engine.images_directory));
    // A full or read-only directory is found before anything is stopped.
    TRY(store.probe_writable());
    const dump::ToImagesReport report =
        options.container.empty()
            ? TRY(dump_tree(options, place, store))
            : TRY(migrate::dump_container({.name = options.container,
                                           .runtime_root = options.runtime_root,
                                           .files = file_options(engine),
                                           .after = after_dump(options),
                                           .work_directory = place.work_directory.get()},
                                          store));
    log_info("Dumped {} pages, frozen for {} us", report.pages, report.frozen.count());
    log_info("Dumping finished successfully");
    return kExitOk;
}

}  // namespace

void add_dump(CLI::App& app, Invocation& invocation) {
    CLI::App* verb =
        app.add_subcommand("dump", "Write a container or a process tree into image files, end it");
    auto options = std::make_shared<DumpOptions>();
    CLI::Option* const tree =
        verb->add_option("-t,--tree", options->pid, "The pid of the tree's root")
            ->check(CLI::Range(1, 1 << 22));
    verb->add_option("CONTAINER", options->container,
                     "A container of runc's or Podman's, by its name")
        ->excludes(tree);
    verb->add_option("--runtime-root", options->runtime_root, "Where runc keeps its states")
        ->capture_default_str();
    verb->add_flag("-R,--leave-running", options->leave_running, "Let the tree run on afterwards");
    add_engine_options(*verb, options->engine);
    verb->callback([options, &invocation] {
        if (options->pid == 0 && options->container.empty()) {
            throw CLI::RequiredError("--tree or a container's name");
        }
        invocation.run = [options]() -> Result<int> {
            return with_context(
                run_dump(*options),
                "dump of " + (options->container.empty() ? fmt::format("{}", options->pid)
                                                         : options->container));
        };
    });
}

}  // namespace ferry::cli
