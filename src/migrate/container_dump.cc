#include "migrate/container_dump.h"

#include <future>
#include <memory>
#include <optional>
#include <utility>

#include "migrate/container_images.h"
#include "migrate/departing_container.h"
#include "migrate/frozen_network.h"
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
    resources::FileOptions files = options.files;
    files.given = container.container().state.streams;
    return dump::SourceTree::open(container.root(), {.files = files, .is_container = true});
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

}  // namespace

Result<dump::ToImagesReport> dump_container(const ContainerDumpOptions& options,
                                            image::DirectoryStore& store) {
    DepartingContainer container = TRY(find(options));
    if (container.description().podman) {
        return fail(Error::unsupported("image files of a container of Podman"));
    }
    dump::SourceTree tree = TRY(open_tree(container, options));
    std::optional<os::LateClosing> closing;
    const std::unique_ptr<FrozenNetwork> network = TRY(network_of(container, options));
    TRY(container.check_strangers());

    const dump::ToImagesReport report =
        TRY(dump::dump_to_images(tree, store,
                                 {.after = options.after,
                                  .work_directory = options.work_directory,
                                  .parent = options.parent,
                                  .on_frozen = [&] { return network->hold(); },
                                  .on_thaw = [&] { network->allow_outgoing(); },
                                  .on_thawed = [&] { network->release(); },
                                  .on_kill = [&] { return network->commit(); },
                                  .also_write = [&](image::ImageStore& into) -> Result<> {
                                      TRY(container.check_mounts());
                                      ContainerImages images;
                                      images.description = container.description();
                                      images.files = TRY(container.collect_files());
                                      TRY(network->describe(images));
                                      return write_container(images, into);
                                  }}));
    if (options.after != dump::AfterDump::Kill) return report;
    auto forgotten = std::async(std::launch::async, [&] {
        return options.runtime_is_told ? Result<>() : container.remove();
    });
    const Result<> removed = network->remove();
    TRY(with_context(forgotten.get(), "the images are complete, but its runtime"));
    TRY(removed);
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
