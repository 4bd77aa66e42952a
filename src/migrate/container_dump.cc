#include "migrate/container_dump.h"

#include <future>
#include <memory>
#include <optional>
#include <utility>

#include "container/mark.h"
#include "migrate/container_images.h"
#include "migrate/departing_container.h"
#include "migrate/frozen_network.h"
#include "migrate/own_files.h"
#include "os/file_tree.h"
#include "os/late_closing.h"

namespace ferry::migrate {
namespace {

// Podman, where it stands behind the runtime that asks, has locked the container and answers
// nobody.
Result<DepartingContainer> find(const ContainerDumpOptions& options) {
    if (!options.runtime_is_told) {
        return DepartingContainer::find(options.name, options.runtime_root);
    }
    return DepartingContainer::of(
        TRY(container::find(options.name, {.root = options.runtime_root})));
}

Result<dump::SourceTree> open_tree(const DepartingContainer& container,
                                   const ContainerDumpOptions& options) {
    return dump::SourceTree::open(
        container.root(),
        {.files = TRY(container.with_given(options.files)), .is_container = true});
}

// A namespace that the container has joined is for whoever made it to move.
Result<std::unique_ptr<FrozenNetwork>> network_of(const DepartingContainer& container,
                                                  const ContainerDumpOptions& options) {
    const bool has_connections = options.files.tcp_established;
    const auto* own = container.container().config.find_namespace("network");
    if (options.runtime_is_told && (own == nullptr || !own->path.empty())) {
        return FrozenNetwork::joined(container.root(), has_connections);
    }
    return FrozenNetwork::own(container.root(), options.name, has_connections);
}

// Its processes have ended.
Result<> end_container(const DepartingContainer& container, FrozenNetwork& network,
                       const OwnFilesDump& own_files, const image::DirectoryStore& store,
                       const ContainerDumpOptions& options) {
    if (options.runtime_is_told) return network.remove();
    if (!container.description().podman) {
        auto forgotten = std::async(std::launch::async, [&] { return container.remove(); });
        const Result<> removed = network.remove();
        TRY(with_context(forgotten.get(), "its runtime"));
        return removed;
    }
    // Podman removes its files, of which the only copy is in the store from then on, and its
    // network, of which it misses a device that has gone.
    TRY(with_context(os::syncfs(store.fd()), "the container stays in Podman's book"));
    TRY(with_context(container.remove(), "Podman"));
    TRY(network.remove());
    return container::mark_as_left(own_files.left(), container.container().state.id, "image files");
}

}  // namespace

Result<dump::ToImagesReport> dump_container(const ContainerDumpOptions& options,
                                            image::DirectoryStore& store) {
    DepartingContainer container = TRY(find(options));
    dump::SourceTree tree = TRY(open_tree(container, options));
    std::optional<os::LateClosing> closing;
    const std::unique_ptr<FrozenNetwork> network = TRY(network_of(container, options));
    TRY(container.check_strangers());
    OwnFilesDump own_files = TRY(OwnFilesDump::begin(container.container(), store));

    const auto also_write = [&](const model::Checkpoint& collected,
                                image::ImageStore& into) -> Result<> {
        TRY(container.check_mounts());
        TRY(container.await_log());
        TRY(own_files.finish(collected));
        ContainerImages images;
        images.description = container.description();
        images.tmpfs = TRY(container.collect_files());
        images.trees = own_files.trees();
        TRY(network->describe(images));
        return write_container(images, into);
    };
    const dump::ToImagesReport report =
        TRY(dump::dump_to_images(tree, store,
                                 {.after = options.after,
                                  .work_directory = options.work_directory,
                                  .parent = options.parent,
                                  .on_frozen = [&] { return network->hold(); },
                                  .on_thaw = [&] { network->allow_outgoing(); },
                                  .on_thawed = [&] { network->release(); },
                                  .on_kill = [&]() -> Result<> {
                                      TRY(network->commit());
                                      return container.end_monitor();
                                  },
                                  .also_write = also_write}));
    if (options.after != dump::AfterDump::Kill) return report;
    TRY(with_context(end_container(container, *network, own_files, store, options),
                     "the images are complete, but"));
    if (auto begun = os::LateClosing::begin()) closing = std::move(*begun);
    return report;
}

Result<dump::ToImagesReport> pre_dump_container(const ContainerDumpOptions& options,
                                                image::DirectoryStore& store) {
    const DepartingContainer container = TRY(find(options));
    dump::SourceTree tree = TRY(open_tree(container, options));
    TRY(container.check_strangers());
    return dump::pre_dump_to_images(
        tree, store, {.work_directory = options.work_directory, .parent = options.parent});
}

}  // namespace ferry::migrate
