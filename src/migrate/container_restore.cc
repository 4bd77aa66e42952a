#include "migrate/container_restore.h"

#include <memory>
#include <optional>

#include "base/log.h"
#include "container/config.h"
#include "container/creation.h"
#include "container/tmpfs_restore.h"
#include "os/network_namespace.h"

namespace ferry::migrate {

Result<restore::RestoreReport> restore_container(const ContainerImages& images,
                                                 const ContainerRestoreOptions& options) {
    const container::Config config = TRY(container::parse_config(images.description.config));
    // In this order: what is left of a container that failed goes after its network.
    const std::unique_ptr<container::Creation> creation = TRY(
        container::Creation::prepare(images.description, {.runtime_root = options.runtime_root}));
    auto questions =
        TRY(handover::ArrivingNetwork::check_unowned(images.network, options.placement));
    std::optional<handover::ArrivingNetwork> network;

    restore::RestoreOptions engine = options.engine;
    engine.stage.start_root = [&](const restore::RootImage& image) -> Result<Pid> {
        const Pid root = TRY(creation->start(image.flat, image.socket, image.socket_number));
        TRY(container::restore_tmpfs(root, config, images.files));
        network = TRY(handover::ArrivingNetwork::prepare(
            images.network, TRY(os::NetworkNamespace::of(root)), options.placement));
        return root;
    };
    engine.on_restored = [&]() -> Result<> {
        for (handover::UnclaimedQuestion& asked : questions) TRY(asked.expect_silence());
        TRY(network->activate());
        TRY(network->announce());
        std::move(*creation).commit();
        return {};
    };
    restore::RestoreReport report = TRY(restore::restore_from_images(engine));
    if (const Result<> kept = network->keep(); !kept) {
        log_error("keeping the network: {}", kept.error().message());
    }
    // Again: a lost frame otherwise costs its peers a neighbour timeout.
    if (const Result<> announced = network->announce(); !announced) {
        log_warn("announcing the address: {}, ignoring", announced.error().message());
    }
    return report;
}

}  // namespace ferry::migrate
