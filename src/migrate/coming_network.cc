#include "migrate/coming_network.h"

#include <sched.h>

#include <future>
#include <optional>
#include <utility>
#include <vector>

#include "base/log.h"
#include "handover/network_hold.h"
#include "migrate/connection_lock.h"
#include "os/namespace.h"

namespace ferry::migrate {
namespace {

using handover::ArrivingNetwork;

class OwnNetwork : public ComingNetwork {
  public:
    static Result<std::unique_ptr<ComingNetwork>> of(const handover::ServiceNetwork& network,
                                                     const handover::Placement& placement) {
        auto coming = std::make_unique<OwnNetwork>(network, placement);
        coming->questions_ = TRY(ArrivingNetwork::check_unowned(network, placement));
        return coming;
    }
    OwnNetwork(const handover::ServiceNetwork& network, const handover::Placement& placement)
        : description_(network), placement_(placement) {}

    void begin(os::NetworkNamespace space) override {
        made_ = std::async(std::launch::async,
                           [this, there = std::move(space)]() -> Result<ArrivingNetwork> {
                               // Paths lead to the same places whatever root the main thread takes
                               // meanwhile.
                               TRY(os::unshare(CLONE_FS));
                               return ArrivingNetwork::prepare(description_, there, placement_);
                           });
    }
    Result<> await() override {
        network_ = TRY(made_.get());
        return {};
    }
    Result<> open() override {
        for (handover::UnclaimedQuestion& asked : questions_) TRY(asked.expect_silence());
        TRY(network_->activate());
        return network_->announce();
    }
    void keep() override {
        if (const Result<> kept = network_->keep(); !kept) {
            log_error("keeping the network: {}", kept.error().message());
        }
        // Again: a lost frame otherwise costs its peers a neighbour timeout.
        if (const Result<> announced = network_->announce(); !announced) {
            log_warn("announcing the address: {}, ignoring", announced.error().message());
        }
    }

  private:
    const handover::ServiceNetwork& description_;
    const handover::Placement& placement_;
    std::vector<handover::UnclaimedQuestion> questions_;
    std::future<Result<ArrivingNetwork>> made_;
    std::optional<ArrivingNetwork> network_;
};

class Joined : public ComingNetwork {
  public:
    static Result<std::unique_ptr<ComingNetwork>> of(const JoinedNetwork& network,
                                                     const container::Config& config) {
        const container::ConfiguredNamespace* joined = config.find_namespace("network");
        if (joined != nullptr && joined->path.empty()) {
            return fail(Error::unsupported(
                "the container had a network that somebody else had made, and is to have none"));
        }
        auto coming = std::make_unique<Joined>(joined == nullptr
                                                   ? TRY(os::NetworkNamespace::own())
                                                   : TRY(os::NetworkNamespace::at(joined->path)),
                                               network.lock);
        // Whoever has that network may filter packets in it.
        coming->hold_ = TRY(coming->space_.within([&network] {
            return handover::NetworkHold::install(network.services, handover::HoldScope::Everything,
                                                  handover::Firewall::Yes);
        }));
        return coming;
    }
    Joined(os::NetworkNamespace space, std::string lock)
        : space_(std::move(space)), lock_(std::move(lock)) {}

    void begin(os::NetworkNamespace) override {}
    Result<> await() override { return {}; }
    Result<> open() override {
        if (!lock_.empty()) TRY(space_.within([this] { return remove_connection_lock(lock_); }));
        return hold_->release_and_replay({});
    }
    void keep() override {}

  private:
    os::NetworkNamespace space_;
    std::string lock_;
    std::optional<handover::NetworkHold> hold_;
};

}  // namespace

Result<std::unique_ptr<ComingNetwork>> ComingNetwork::of(const ContainerImages& images,
                                                         const container::Config& config,
                                                         const handover::Placement& placement) {
    return images.joined ? Joined::of(*images.joined, config)
                         : OwnNetwork::of(images.network, placement);
}

}  // namespace ferry::migrate
