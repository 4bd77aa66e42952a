#include <fmt/format.h>

#include <vector>

#include "handover/address_probe.h"
#include "handover/arriving_device.h"
#include "handover/network_move.h"
#include "handover/routing_rules.h"
#include "handover/rtnetlink.h"
#include "handover/space_settings.h"

namespace ferry::handover {
namespace {

// Refuses what would make two owners of one MAC or address on this host.
Result<> check_free(NetlinkSocket& host_route, const NetworkIdentity& identity) {
    for (const Link& link : TRY(list_links(host_route))) {
        if (link.mac == identity.mac) {
            return fail(Error::unsupported(
                fmt::format("{} already has the MAC {} here", link.name, to_string(identity.mac))));
        }
    }
    for (const auto& taken : TRY(list_addresses(host_route))) {
        for (const auto& wanted : identity.addresses) {
            const bool same = taken.address.address == wanted.address;
            // Link-local addresses are unique per link only, and the MAC has been checked.
            if (same && !wanted.address.is_link_local()) {
                return fail(Error::unsupported(fmt::format("this host already has the address {}",
                                                           wanted.address.to_string())));
            }
        }
    }
    return {};
}

// In the host's namespace. Whose devices appear in a namespace of its own needs no name here.
Result<Link> check_device(NetlinkSocket& host_route, const NetworkIdentity& identity,
                          const Placement& placement, bool separate) {
    auto base = TRY(find_base(host_route, identity, placement));
    if (!separate) TRY(remove_leftover(host_route, identity));
    TRY(check_free(host_route, identity));
    return base;
}

std::string name_of(const NetworkIdentity& identity) {
    return fmt::format("network identity {}", identity.name);
}

}  // namespace

struct ArrivingNetwork::State {
    std::vector<std::unique_ptr<ArrivingDevice>> devices;

    Result<> create(const ServiceNetwork& network, Site& site);
    Result<> set_up(const ServiceNetwork& network, Site& site);
};

Result<> ArrivingNetwork::State::create(const ServiceNetwork& network, Site& site) {
    for (const NetworkIdentity& identity : network.devices) {
        if (identity.kind != DeviceKind::Loopback) {
            TRY(with_context(check_device(site.host_route, identity, site.placement, site.separate),
                             name_of(identity)));
        }
        auto device = with_context(ArrivingDevice::create(identity, site), name_of(identity));
        if (!device) return fail(std::move(device.error()));
        devices.push_back(std::move(*device));
    }
    return {};
}

Result<> ArrivingNetwork::State::set_up(const ServiceNetwork& network, Site& site) {
    for (auto& device : devices) TRY(device->bring_up());
    for (const bool with_gateway : {false, true}) {
        for (auto& device : devices) TRY(device->add_routes(with_gateway));
    }
    for (auto& device : devices) device->add_neighbours();
    for (auto& device : devices) TRY(device->await_bridge(site.host_route));
    if (!network.space || devices.empty()) return {};
    auto& netlink = devices.front()->route();
    TRY(add_routes(netlink, network.space->routes, 0, false));
    return make_rules(netlink, network.space->rules);
}

ArrivingNetwork::ArrivingNetwork(std::unique_ptr<State> state) : state_(std::move(state)) {}
ArrivingNetwork::ArrivingNetwork(ArrivingNetwork&&) noexcept = default;
ArrivingNetwork& ArrivingNetwork::operator=(ArrivingNetwork&&) noexcept = default;
ArrivingNetwork::~ArrivingNetwork() = default;

Result<> ArrivingNetwork::check(const ServiceNetwork& network, const Placement& placement) {
    auto route = TRY(NetlinkSocket::open(NETLINK_ROUTE));
    for (const NetworkIdentity& identity : network.devices) {
        if (identity.kind == DeviceKind::Loopback) continue;
        const auto base =
            TRY(with_context(check_device(route, identity, placement, network.space.has_value()),
                             name_of(identity)));
        // A host answers for the addresses of all of its devices, its macvlans included, so only
        // for a namespace of its own one answer can be told from another.
        if (!network.space) continue;
        TRY(with_context(check_unclaimed(identity, base, placement.must_be_joined),
                         name_of(identity)));
    }
    return {};
}

Result<std::vector<UnclaimedQuestion>> ArrivingNetwork::check_unowned(const ServiceNetwork& network,
                                                                      const Placement& placement) {
    auto route = TRY(NetlinkSocket::open(NETLINK_ROUTE));
    std::vector<UnclaimedQuestion> questions;
    for (const NetworkIdentity& identity : network.devices) {
        if (identity.kind == DeviceKind::Loopback) continue;
        const auto base =
            TRY(with_context(check_device(route, identity, placement, network.space.has_value()),
                             name_of(identity)));
        questions.push_back(TRY(UnclaimedQuestion::ask(identity, base)));
    }
    return questions;
}

Result<ArrivingNetwork> ArrivingNetwork::prepare(const ServiceNetwork& network,
                                                 const os::NetworkNamespace& space,
                                                 const Placement& placement) {
    auto site = TRY(Site::open(space, placement));
    if (network.space.has_value() != site.separate) {
        return fail(Error::invalid("a container's network needs a network namespace of its own"));
    }
    const auto write_settings = [&]() -> Result<> {
        if (!network.space) return {};
        return space.within([&] { return write_space_settings(network.space->settings); });
    };
    ArrivingNetwork arriving(std::make_unique<State>());
    TRY(write_settings());
    TRY(arriving.state_->create(network, site));
    TRY(write_settings());
    // Rules may name devices, and no packet may come before them.
    if (network.space) {
        TRY(space.within([&]() -> Result<> {
            TRY(load_ruleset(network.space->filter));
            TRY(check_ruleset(network.space->filter));
            return make_connections(network.space->filter);
        }));
    }
    TRY(arriving.state_->set_up(network, site));
    return arriving;
}

Result<> ArrivingNetwork::activate() {
    for (auto& device : state_->devices) TRY(device->unmute());
    return {};
}

Result<> ArrivingNetwork::announce() {
    for (const auto& device : state_->devices) TRY(device->announce());
    return {};
}

Result<> ArrivingNetwork::outlive() {
    for (auto& device : state_->devices) TRY(device->outlive());
    return {};
}

Result<> ArrivingNetwork::keep() {
    for (auto& device : state_->devices) TRY(device->keep());
    return {};
}

}  // namespace ferry::handover
