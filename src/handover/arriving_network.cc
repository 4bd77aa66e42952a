#include <fmt/format.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

#include "base/log.h"
#include "handover/announcement.h"
#include "handover/device_settings.h"
#include "handover/link_guardian.h"
#include "handover/link_messages.h"
#include "handover/mute.h"
#include "handover/network_move.h"
#include "handover/rtnetlink.h"
#include "os/process.h"

namespace ferry::handover {
namespace {

// The alias of a device that is prepared and not kept: by it a device is recognised whose guardian
// was killed along with its owner. The number is the owner's pid.
constexpr std::string_view kPreparedAlias = "ferry prepares this for process ";

// One device and what undoes it.
struct Device {
    Device(NetworkIdentity carried, NetlinkSocket route_socket, NetlinkSocket nft_socket)
        : identity(std::move(carried)),
          mute(identity),
          route(std::move(route_socket)),
          nft(std::move(nft_socket)) {}

    NetworkIdentity identity;
    DeviceMute mute;
    NetlinkSocket route, nft;
    int index = 0;
    bool created = false;
    std::optional<Announcer> announcer;
    std::optional<LinkGuardian> guardian;

    Result<> prepare(int parent);
    Result<> configure();
    Result<> keep();
    void remove();
};

Result<int> index_of(NetlinkSocket& route, const std::string& name) {
    const auto link = TRY(find_link(route, name));
    if (!link) return fail(Error::gone(fmt::format("device {} has disappeared", name)));
    return link->index;
}

Result<> Device::prepare(int parent) {
    const std::array orders = {
        GuardianOrder{.socket = route.fd(), .messages = delete_link(identity.name)},
        GuardianOrder{.socket = nft.fd(), .messages = mute.removal()}};
    guardian = TRY(LinkGuardian::start(orders));
    TRY(guardian->arm());
    const auto what = fmt::format("create {}", identity.name);
    TRY(route.request(create_macvlan(identity, parent), what));
    created = true;
    index = TRY(index_of(route, identity.name));
    TRY(route.request(set_alias(index, fmt::format("{}{}", kPreparedAlias, ::getpid())), what));
    TRY(mute.install(nft, NftOwner::No, true));
    TRY(configure());
    announcer = TRY(Announcer::create(identity, index));
    return {};
}

Result<> Device::configure() {
    auto settings = identity.settings;
    std::erase_if(settings, [](const auto& s) { return s.key == kAddressGeneration; });
    TRY(write_device_settings(identity.name, settings));
    auto no_generation = route.request(set_address_generation(index, IN6_ADDR_GEN_MODE_NONE),
                                       "set addrgenmode none");
    if (!no_generation && no_generation.error().code() != EAFNOSUPPORT) return no_generation;
    TRY(route.request(set_up(index), fmt::format("set {} up", identity.name)));
    for (const auto& address : identity.addresses) {
        TRY(route.request(add_address(address, index),
                          fmt::format("add {} to {}", address.address.to_string(), identity.name)));
    }
    // A gateway can only be named once the route to it is there.
    auto routes = identity.routes;
    std::ranges::stable_partition(routes, [](const Route& r) { return !r.gateway; });
    for (const Route& entry : routes) {
        const auto to = entry.destination ? entry.destination->to_string() : "default";
        TRY(route.request(
            add_route(entry, index),
            fmt::format("add route {}/{} via {}", to, entry.prefix_length, identity.name)));
    }
    for (const auto& neighbour : identity.neighbours) {
        const auto added = route.request(add_neighbour(neighbour, index), "add a neighbour");
        // The table may be full; the service then resolves the address itself.
        if (!added) log_debug("{}, ignoring", added.error().message());
    }
    return {};
}

Result<> Device::keep() {
    TRY(guardian->disarm());
    created = false;
    // From here on the device belongs to the service. What is left is tidying, in which a failure
    // harms nobody.
    const auto tolerate = [](const Result<>& done) {
        if (!done) log_debug("{}, ignoring: it has no effect on traffic", done.error().message());
    };
    tolerate(mute.remove(nft));
    tolerate(route.request(set_alias(index, ""), "remove the alias"));
    const auto generation =
        std::ranges::find(identity.settings, kAddressGeneration, &DeviceSetting::key);
    if (generation != identity.settings.end()) {
        const auto mode = static_cast<std::uint8_t>(std::stoi(generation->value));
        tolerate(route.request(set_address_generation(index, mode), "set addrgenmode"));
    }
    return {};
}

void Device::remove() {
    if (!created) return;
    const auto deleted = route.request(delete_link(identity.name), "remove the prepared device");
    if (!deleted && deleted.error().code() != ENODEV) {
        log_warn("{}: the guardian will try again", deleted.error().describe());
        return;
    }
    static_cast<void>(mute.remove(nft));  // Absent when prepare() failed before it.
    if (guardian) static_cast<void>(guardian->disarm());
    created = false;
}

// The process that a left-over device belonged to, if its alias says that it is one.
std::optional<Pid> preparer_of(const Link& link) {
    const std::string_view alias = link.alias;
    if (!alias.starts_with(kPreparedAlias)) return std::nullopt;
    const auto digits = alias.substr(kPreparedAlias.size());
    Pid pid;
    std::from_chars(digits.data(), digits.data() + digits.size(), pid.value);
    return pid;
}

Result<> remove_leftover(NetlinkSocket& route, const NetworkIdentity& identity) {
    const std::string& name = identity.name;
    const auto link = TRY(find_link(route, name));
    if (!link) return {};
    const auto owner = preparer_of(*link);
    if (!owner) {
        return fail(Error::unsupported(fmt::format("there already is a device {} here", name)));
    }
    if (owner->value != ::getpid() && os::kill(*owner, 0)) {
        return fail(Error::unsupported(
            fmt::format("process {} already prepares a device {} here", *owner, name)));
    }
    TRY(route.request(delete_link(name), fmt::format("remove the left-over device {}", name)));
    auto nft = TRY(NetlinkSocket::open(NETLINK_NETFILTER));
    static_cast<void>(DeviceMute(identity).remove(nft));  // It may be gone already.
    return {};
}

// Refuses what would make two owners of one name, MAC or address on this host.
Result<> check_free(NetlinkSocket& route, const NetworkIdentity& identity) {
    TRY(remove_leftover(route, identity));
    for (const Link& link : TRY(list_links(route))) {
        if (link.mac == identity.mac) {
            return fail(Error::unsupported(
                fmt::format("{} already has the MAC {} here", link.name, to_string(identity.mac))));
        }
    }
    for (const auto& taken : TRY(list_addresses(route))) {
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

Result<std::unique_ptr<Device>> prepare_device(const NetworkIdentity& identity,
                                               const std::string& uplink) {
    auto route = TRY(NetlinkSocket::open(NETLINK_ROUTE));
    auto nft = TRY(NetlinkSocket::open(NETLINK_NETFILTER));
    const std::string& parent_name = uplink.empty() ? identity.parent : uplink;
    const auto parent = TRY(find_link(route, parent_name));
    if (!parent) {
        return fail(Error::unsupported(
            fmt::format("there is no device {} here to put {} on", parent_name, identity.name)));
    }
    if ((parent->flags & IFF_UP) == 0) {
        return fail(Error::unsupported(fmt::format("the uplink {} is down", parent_name)));
    }
    if (parent->mtu < identity.mtu) {
        return fail(Error::unsupported(fmt::format("the MTU of {} is {}, {} needs {}", parent_name,
                                                   parent->mtu, identity.name, identity.mtu)));
    }
    TRY(check_free(route, identity));
    auto device = std::make_unique<Device>(identity, std::move(route), std::move(nft));
    if (auto prepared = device->prepare(parent->index); !prepared) {
        device->remove();
        return fail(std::move(prepared.error()));
    }
    return device;
}

}  // namespace

struct ArrivingNetwork::State {
    std::vector<std::unique_ptr<Device>> devices;

    ~State() {
        for (auto& device : devices) device->remove();
    }
};

ArrivingNetwork::ArrivingNetwork(std::unique_ptr<State> state) : state_(std::move(state)) {}
ArrivingNetwork::ArrivingNetwork(ArrivingNetwork&&) noexcept = default;
ArrivingNetwork& ArrivingNetwork::operator=(ArrivingNetwork&&) noexcept = default;
ArrivingNetwork::~ArrivingNetwork() = default;

Result<ArrivingNetwork> ArrivingNetwork::prepare(std::span<const NetworkIdentity> identities,
                                                 const std::string& uplink) {
    ArrivingNetwork network(std::make_unique<State>());
    for (const NetworkIdentity& identity : identities) {
        auto device = with_context(prepare_device(identity, uplink),
                                   fmt::format("network identity {}", identity.name));
        if (!device) return fail(std::move(device.error()));
        network.state_->devices.push_back(std::move(*device));
    }
    return network;
}

Result<> ArrivingNetwork::activate() {
    for (auto& device : state_->devices) TRY(device->mute.set(device->nft, false));
    return {};
}

Result<> ArrivingNetwork::announce() {
    for (const auto& device : state_->devices) TRY(device->announcer->announce());
    return {};
}

Result<> ArrivingNetwork::keep() {
    for (auto& device : state_->devices) TRY(device->keep());
    return {};
}

}  // namespace ferry::handover
