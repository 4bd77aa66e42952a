#include "migrate/container_restore.h"

#include <sched.h>

#include <future>
#include <memory>
#include <optional>

#include "base/log.h"
#include "container/config.h"
#include "container/creation.h"
#include "container/tmpfs_restore.h"
#include "os/late_closing.h"
#include "os/namespace.h"
#include "os/network_namespace.h"

namespace ferry::migrate {
namespace {

using handover::ArrivingNetwork;

// The network is made by a thread of its own while the pages are read: its settings take as long
// as many pages, and nobody needs it before the first socket.
class ComingNetwork {
  public:
    void begin(const handover::ServiceNetwork& network, os::NetworkNamespace space,
               const handover::Placement& placement) {
        made_ = std::async(
            std::launch::async,
            [&network, &placement, there = std::move(space)]() -> Result<ArrivingNetwork> {
                // Paths lead to the same places whatever root the main thread takes meanwhile.
                TRY(os::unshare(CLONE_FS));
                return ArrivingNetwork::prepare(network, there, placement);
            });
    }
    Result<> await() {
        network_ = TRY(made_.get());
        return {};
    }
    ArrivingNetwork& operator*() { return *network_; }
    ArrivingNetwork* operator->() { return &*network_; }

  private:
    std::future<Result<ArrivingNetwork>> made_;
    std::optional<ArrivingNetwork> network_;
};

}  // namespace

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
    auto questions =
        TRY(handover::ArrivingNetwork::check_unowned(images.network, options.placement));
    ComingNetwork network;

    ContainerRestoreReport report;
    restore::RestoreOptions engine = options.engine;
    engine.given_stream = [&](int number) { return creation->stream(number); };
    engine.stage.start_root = [&](const restore::RootImage& image) -> Result<Pid> {
        const Pid root = TRY(creation->start(image.flat, image.socket, image.socket_number));
        TRY(container::restore_tmpfs(root, config, images.files));
        network.begin(images.network, TRY(os::NetworkNamespace::of(root)), options.placement);
        report.made_root = root;
        if (options.on_made) TRY(options.on_made(root));
        return root;
    };
    engine.on_filled = [&] { return network.await(); };
    engine.on_restored = [&]() -> Result<> {
        for (handover::UnclaimedQuestion& asked : questions) TRY(asked.expect_silence());
        TRY(network->activate());
        TRY(network->announce());
        if (options.on_complete) TRY(options.on_complete(report.made_root));
        std::move(*creation).commit();
        return {};
    };
    static_cast<restore::RestoreReport&>(report) = TRY(restore::restore_from_images(engine));
    if (const Result<> kept = network->keep(); !kept) {
        log_error("keeping the network: {}", kept.error().message());
    }
    // Again: a lost frame otherwise costs its peers a neighbour timeout.
    if (const Result<> announced = network->announce(); !announced) {
        log_warn("announcing the address: {}, ignoring", announced.error().message());
    }
    if (auto begun = os::LateClosing::begin()) closing = std::move(*begun);
    return report;
}

}  // namespace ferry::migrate
