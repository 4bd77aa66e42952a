#include "migrate/container_dump.h"

#include <fmt/format.h>

#include <future>
#include <optional>
#include <vector>

#include "base/log.h"
#include "handover/network_hold.h"
#include "handover/network_move.h"
#include "handover/service_network.h"
#include "migrate/container_images.h"
#include "migrate/departing_container.h"
#include "os/late_closing.h"
#include "os/network_namespace.h"

namespace ferry::migrate {
namespace {

// The container's network while it stands still.
class FrozenNetwork {
  public:
    static Result<FrozenNetwork> of(Pid root, const std::string& name, bool has_connections) {
        FrozenNetwork network(TRY(os::NetworkNamespace::of(root)));
        if (TRY(network.space_.is(TRY(os::NetworkNamespace::own())))) {
            return fail(Error::unsupported(fmt::format(
                "container \"{}\" has the network of its host: dump its tree of processes", name)));
        }
        network.identity_ = TRY(handover::find_network(network.space_, {}));
        network.devices_ = TRY(handover::DepartingNetwork::arm(network.identity_, network.space_));
        if (!has_connections) return network;
        for (const handover::IpAddress& address : network.identity_.ip_addresses()) {
            network.targets_.push_back({.address = address});
        }
        return network;
    }

    // In the freeze: with the packet filter as it stands.
    Result<handover::ServiceNetwork> collect() {
        identity_.space->filter = TRY(space_.within(handover::read_packet_filter));
        return identity_;
    }

    Result<> hold() {
        hold_ = TRY(space_.within([this] {
            return handover::NetworkHold::install(targets_, handover::HoldScope::Everything,
                                                  identity_.firewall());
        }));
        return {};
    }
    // From here on the devices go even if we die.
    Result<> commit() { return devices_->commit(); }
    // The processes have ended.
    Result<> remove() {
        TRY(devices_->remove());
        return hold_ ? hold_->release() : Result<>();
    }
    void allow_outgoing() {
        if (hold_) tell(hold_->allow_outgoing());
    }
    void release() {
        if (hold_) tell(hold_->release_and_replay({}));
        hold_.reset();
    }

  private:
    explicit FrozenNetwork(os::NetworkNamespace space) : space_(std::move(space)) {}
    static void tell(const Result<>& done) {
        if (!done) log_error("releasing the network: {}", done.error().message());
    }

    os::NetworkNamespace space_;
    handover::ServiceNetwork identity_;
    std::vector<handover::HoldTarget> targets_;
    std::optional<handover::NetworkHold> hold_;  // let go after the devices
    std::optional<handover::DepartingNetwork> devices_;
};

}  // namespace

Result<dump::ToImagesReport> dump_container(const ContainerDumpOptions& options,
                                            image::DirectoryStore& store) {
    DepartingContainer container =
        TRY(DepartingContainer::find(options.name, options.runtime_root));
    if (container.description().podman) {
        return fail(Error::unsupported("image files of a container of Podman"));
    }
    resources::FileOptions files = options.files;
    files.given = container.container().state.streams;
    dump::SourceTree tree =
        TRY(dump::SourceTree::open(container.root(), {.files = files, .is_container = true}));
    std::optional<os::LateClosing> closing;
    FrozenNetwork network =
        TRY(FrozenNetwork::of(container.root(), options.name, options.files.tcp_established));
    TRY(container.check_strangers());

    const dump::ToImagesReport report = TRY(
        dump::dump_to_images(tree, store,
                             {.after = options.after,
                              .work_directory = options.work_directory,
                              .on_frozen = [&] { return network.hold(); },
                              .on_thaw = [&] { network.allow_outgoing(); },
                              .on_thawed = [&] { network.release(); },
                              .on_kill = [&] { return network.commit(); },
                              .also_write = [&](image::ImageStore& into) -> Result<> {
                                  TRY(container.check_mounts());
                                  return write_container({.description = container.description(),
                                                          .network = TRY(network.collect()),
                                                          .files = TRY(container.collect_files())},
                                                         into);
                              }}));
    if (options.after != dump::AfterDump::Kill) return report;
    auto forgotten = std::async(std::launch::async, [&] {
        return options.runtime_is_told ? Result<>() : container.remove();
    });
    const Result<> removed = network.remove();
    TRY(with_context(forgotten.get(), "the images are complete, but its runtime"));
    TRY(removed);
    if (auto begun = os::LateClosing::begin()) closing = std::move(*begun);
    return report;
}

}  // namespace ferry::migrate
