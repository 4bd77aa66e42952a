#include "migrate/container_restore.h"

#include <memory>
#include <optional>

#include "container/config.h"
#include "container/creation.h"
#include "container/tmpfs_restore.h"
#include "migrate/coming_network.h"
#include "os/late_closing.h"
#include "os/network_namespace.h"

namespace ferry::migrate {
Result<ContainerRestoreReport> restore_container(const ContainerImages& images,
                                                 const ContainerRestoreOptions& options) {
    const container::Config config = TRY(container::parse_config(images.description.config));
    std::optional<os::LateClosing> closing;
    // In this order: what is left of a container that failed goes after its network.
    const std::unique_ptr<container::Creation> creation =
        TRY(container::Creation::prepare(images.description, {.runtime_root = options.runtime_root,
                                                              .output = options.output,
                                                              .streams = options.streams,
                                                              .version_later = true}));
    const std::unique_ptr<ComingNetwork> network =
        TRY(ComingNetwork::of(images, config, options.placement));

    ContainerRestoreReport report;
    restore::RestoreOptions engine = options.engine;
    engine.given_stream = [&](int number) { return creation->stream(number); };
    engine.stage.start_root = [&](const restore::RootImage& image) -> Result<Pid> {
        const Pid root = TRY(creation->start(image.flat, image.socket, image.socket_number));
        TRY(container::restore_tmpfs(root, config, images.files));
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
