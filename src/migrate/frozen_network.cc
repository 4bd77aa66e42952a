#include "migrate/frozen_network.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/log.h"
#include "handover/network_hold.h"
#include "handover/network_move.h"
#include "handover/service_network.h"
#include "migrate/connection_lock.h"
#include "os/network_namespace.h"
#include "proc/process_directory.h"

namespace ferry::migrate {
namespace {

void tell(const Result<>& done) {
    if (!done) log_error("releasing the network: {}", done.error().message());
}

class OwnNetwork : public FrozenNetwork {
  public:
    static Result<std::unique_ptr<FrozenNetwork>> of(os::NetworkNamespace space,
                                                     bool has_connections) {
        std::unique_ptr<OwnNetwork> network(new OwnNetwork(std::move(space)));
        network->identity_ = TRY(handover::find_network(network->space_, {}));
        network->devices_ =
            TRY(handover::DepartingNetwork::arm(network->identity_, network->space_));
        if (!has_connections) return network;
        for (const handover::IpAddress& address : network->identity_.ip_addresses()) {
            network->targets_.push_back({.address = address});
        }
        return network;
    }

    Result<> hold() override {
        hold_ = TRY(space_.within([this] {
            return handover::NetworkHold::install(targets_, handover::HoldScope::Everything,
                                                  identity_.firewall());
        }));
        return {};
    }
    // With the packet filter as it stands.
    Result<> describe(ContainerImages& images) override {
        identity_.space->filter = TRY(space_.within(handover::read_packet_filter));
        images.network = identity_;
        return {};
    }
    void allow_outgoing() override {
        if (hold_) tell(hold_->allow_outgoing());
    }
    void release() override {
        if (hold_) tell(hold_->release_and_replay({}));
        hold_.reset();
    }
    Result<> commit() override { return devices_->commit(); }
    Result<> remove() override {
        TRY(devices_->remove());
        return hold_ ? hold_->release() : Result<>();
    }

  private:
    explicit OwnNetwork(os::NetworkNamespace space) : space_(std::move(space)) {}

    os::NetworkNamespace space_;
    handover::ServiceNetwork identity_;
    std::vector<handover::HoldTarget> targets_;
    std::optional<handover::NetworkHold> hold_;  // let go after the devices
    std::optional<handover::DepartingNetwork> devices_;
};

class Joined : public FrozenNetwork {
  public:
    Joined(os::NetworkNamespace space, Pid root, std::string name)
        : space_(std::move(space)), root_(root), name_(std::move(name)) {}

    Result<> hold() override {
        if (name_.empty()) return {};
        lock_ = TRY(space_.within([this] { return ConnectionLock::install(root_, name_); }));
        return {};
    }
    Result<> describe(ContainerImages& images) override {
        JoinedNetwork& joined = images.joined.emplace();
        if (!lock_ || lock_->connections().empty()) return {};
        joined.lock = name_;
        for (const Connection& connection : lock_->connections()) {
            joined.services.push_back({.address = connection.local, .port = connection.local_port});
        }
        std::ranges::sort(joined.services);
        const auto rest = std::ranges::unique(joined.services);
        joined.services.erase(rest.begin(), rest.end());
        return {};
    }
    void allow_outgoing() override { lock_.reset(); }
    void release() override {}
    Result<> commit() override { return {}; }
    Result<> remove() override { return lock_ ? std::move(*lock_).keep() : Result<>(); }

  private:
    os::NetworkNamespace space_;
    Pid root_;
    std::string name_;  // of the lock; empty: none is needed
    std::optional<ConnectionLock> lock_;
};

}  // namespace

Result<std::unique_ptr<FrozenNetwork>> FrozenNetwork::own(Pid root, const std::string& name,
                                                          bool has_connections) {
    auto space = TRY(os::NetworkNamespace::of(root));
    if (TRY(space.is(TRY(os::NetworkNamespace::own())))) {
        return fail(Error::unsupported(fmt::format(
            "container \"{}\" has the network of its host: dump its tree of processes", name)));
    }
    return OwnNetwork::of(std::move(space), has_connections);
}

// The lock is called by the container's first process, whose like there is no second time here.
Result<std::unique_ptr<FrozenNetwork>> FrozenNetwork::joined(Pid root, bool has_connections) {
    const auto stat = TRY(TRY(proc::ProcessDirectory::open(root)).stat());
    return std::make_unique<Joined>(
        TRY(os::NetworkNamespace::of(root)), root,
        has_connections ? fmt::format("ferry-lock-{}-{}", root, stat.start_time) : std::string());
}

}  // namespace ferry::migrate
