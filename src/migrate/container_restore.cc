#include "migrate/container_restore.h"

#include <memory>
#include <optional>

#include "container/config.h"
#include "container/creation.h"
#include "container/tmpfs_restore.h"
#include "migrate/coming_network.h"
#include "migrate/own_files.h"
#include "os/late_closing.h"
#include "os/network_namespace.h"

namespace ferry::migrate {

Result<ContainerRestoreReport> restore_container(const ContainerImages& images,
                                                 const ContainerRestoreOptions& options) {
    OwnFilesRestore files =
        TRY(OwnFilesRestore::open(images.trees, options.engine.images_directory));
    std::optional<os::LateClosing> closing;
    const container::Config original = TRY(container::parse_config(images.description.config));
    // In this order: what is left of a container that failed goes after its network.
    std::unique_ptr<container::Creation> creation;
    // First: Podman's network backend would make a bridge that is missing.
    const std::unique_ptr<ComingNetwork> network =
        TRY(ComingNetwork::of(images, original, options.placement));
    creation = TRY(
        container::Creation::prepare(images.description, {.runtime_root = options.runtime_root,
                                                          .output = options.output,
                                                          .streams = options.streams,
                                                          .console_socket = options.console_socket,
                                                          .take_console = options.take_console,
                                                          .version_later = true}));
    const container::Config config = TRY(container::parse_config(creation->config()));
    TRY(files.apply(*creation));

    ContainerRestoreReport report;
    restore::RestoreOptions engine = options.engine;
    engine.given_stream = [&](int number) { return creation->stream(number); };
    engine.stage.start_root = [&](const restore::RootImage& image) -> Result<Pid> {
        const Pid root = TRY(creation->start(image.flat, image.socket, image.socket_number));
        TRY(container::restore_tmpfs(root, config, images.tmpfs));
        network->begin(TRY(os::NetworkNamespace::of(root)));
        report.made_root = root;
        if (options.on_made) TRY(options.on_made(root));
        return root;
    };
    engine.on_filled = [&] { return network->await(); };
    engine.on_restored = [&]() -> Result<> {
        TRY(network->open());
        if (options.on_complete) TRY(options.on_complete(report.made_root));
        std::move(*creation).commit();
        return {};
    };
    static_cast<restore::RestoreReport&>(report) = TRY(restore::restore_from_images(engine));
    network->keep();
    if (auto begun = os::LateClosing::begin()) closing = std::move(*begun);
    return report;
}

}  // namespace ferry::migrate
