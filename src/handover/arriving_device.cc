#include "handover/arriving_device.h"

#include <fmt/format.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <thread>

#include "base/log.h"
#include "handover/device_settings.h"
#include "handover/link_messages.h"
#include "os/process.h"

namespace ferry::handover {
namespace {

// The alias of a device that is prepared and not kept: by it a device is recognised whose guardian
// was killed along with its owner. The number is the owner's pid.
constexpr std::string_view kPreparedAlias = "ferry prepares this for process ";

Result<Link> look_up(NetlinkSocket& route, const std::string& name) {
    auto link = TRY(find_link(route, name));
    if (!link) return fail(Error::gone(fmt::format("device {} has disappeared", name)));
    return std::move(*link);
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

}  // namespace

Result<Site> Site::open(const os::NetworkNamespace& space, const Placement& placement) {
    auto host = TRY(os::NetworkNamespace::own());
    auto host_route = TRY(NetlinkSocket::open(NETLINK_ROUTE));
    const bool separate = !TRY(space.is(host));
    return Site{.space = space,
                .placement = placement,
                .host = std::move(host),
                .host_route = std::move(host_route),
                .separate = separate};
}

Result<Link> find_base(NetlinkSocket& host_route, const NetworkIdentity& identity,
                       const Placement& placement) {
    const bool is_veth = identity.kind == DeviceKind::Veth;
    const std::string& asked = is_veth ? placement.bridge : placement.uplink;
    const std::string& known = is_veth ? identity.port.bridge : identity.parent;
    const std::string& name = asked.empty() ? known : asked;
    const auto refuse = [&](std::string reason) {
        return fail(Error::unsupported(std::move(reason)));
    };
    auto base = TRY(find_link(host_route, name));
    if (is_veth && (!base || base->kind != "bridge")) {
        return refuse(fmt::format(
            "there is no bridge {} here to plug {} into: make one in the same network as the "
            "source's (ip link add {} type bridge) or name another one with --bridge",
            name, identity.name, name));
    }
    if (!base)
        return refuse(fmt::format("there is no device {} here to put {} on", name, identity.name));
    if ((base->flags & IFF_UP) == 0) {
        return refuse(fmt::format("the {} {} is down", is_veth ? "bridge" : "uplink", name));
    }
    if (base->mtu < identity.mtu) {
        return refuse(fmt::format("the MTU of {} is {}, {} needs {}", name, base->mtu,
                                  identity.name, identity.mtu));
    }
    return std::move(*base);
}

ArrivingDevice::ArrivingDevice(NetworkIdentity identity, NetlinkSocket route, NetlinkSocket nft)
    : identity_(std::move(identity)),
      mute_(identity_),
      route_(std::move(route)),
      nft_(std::move(nft)) {}

Result<std::unique_ptr<ArrivingDevice>> ArrivingDevice::create(const NetworkIdentity& identity,
                                                               Site& site) {
    return site.space.within([&]() -> Result<std::unique_ptr<ArrivingDevice>> {
        auto route = TRY(NetlinkSocket::open(NETLINK_ROUTE));
        auto nft = TRY(NetlinkSocket::open(NETLINK_NETFILTER));
        std::unique_ptr<ArrivingDevice> device(
            new ArrivingDevice(identity, std::move(route), std::move(nft)));
        TRY(device->make(site));
        return device;
    });
}

Result<> ArrivingDevice::make(Site& site) {
    if (identity_.kind == DeviceKind::Loopback) {
        index_ = TRY(look_up(route_, identity_.name)).index;
        return {};
    }
    TRY(remove_leftover(route_, identity_));
    const std::array orders = {
        GuardianOrder{.socket = route_.fd(), .messages = delete_link(identity_.name)},
        GuardianOrder{.socket = nft_.fd(), .messages = mute_.removal()}};
    guardian_ = TRY(LinkGuardian::start(orders));
    TRY(guardian_->arm());
    TRY(create_link(site));
    created_ = true;
    index_ = TRY(look_up(route_, identity_.name)).index;
    const auto alias = fmt::format("{}{}", kPreparedAlias, ::getpid());
    TRY(route_.request(set_alias(index_, alias), "mark the prepared device"));
    TRY(mute_.install(nft_, NftOwner::No, true));
    if (identity_.kind == DeviceKind::Veth) TRY(plug_in(site));
    auto settings = identity_.settings;
    std::erase_if(settings, [](const Setting& s) { return s.key == kAddressGeneration; });
    TRY(write_device_settings(identity_.name, settings));
    announcer_ = TRY(Announcer::create(identity_, index_));
    return {};
}

Result<> ArrivingDevice::create_link(Site& site) {
    const auto what = fmt::format("create {}", identity_.name);
    const int base = TRY(find_base(site.host_route, identity_, site.placement)).index;
    if (identity_.kind == DeviceKind::Macvlan) {
        const auto elsewhere = site.separate ? std::optional(site.space.fd()) : std::nullopt;
        return site.host_route.request(create_macvlan(identity_, base, elsewhere), what);
    }
    // Nobody but people looks at the name of the other end: any will do where it is taken.
    const auto taken = TRY(find_link(site.host_route, identity_.port.name));
    const std::string other_end = taken ? "veth%d" : identity_.port.name;
    return route_.request(create_veth(identity_, other_end, site.host.fd()), what);
}

Result<> ArrivingDevice::plug_in(Site& site) {
    const auto what = fmt::format("plug {} into a bridge", identity_.name);
    const int base = TRY(find_base(site.host_route, identity_, site.placement)).index;
    other_end_ = TRY(look_up(route_, identity_.name)).parent;
    TRY(site.host_route.request(plug_into(other_end_, base), what));
    if (!identity_.port.settings.empty()) {
        TRY(site.host_route.request(set_port(other_end_, identity_.port), what));
    }
    return site.host_route.request(set_flags(other_end_, IFF_UP), what);
}

Result<> ArrivingDevice::await_bridge(NetlinkSocket& host_route) const {
    if (other_end_ == 0 || (identity_.flags & IFF_UP) == 0) return {};
    constexpr std::chrono::seconds kPatience{61};
    const auto end = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
        const auto links = TRY(list_links(host_route));
        const auto port = std::ranges::find(links, other_end_, &Link::index);
        if (port != links.end() && port->port_state == BR_STATE_FORWARDING) return {};
        if (port == links.end() || std::chrono::steady_clock::now() > end) {
            return fail(Error::unsupported(fmt::format(
                "the bridge does not let frames of {} pass (spanning tree)", identity_.name)));
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

Result<> ArrivingDevice::bring_up() {
    if (identity_.kind != DeviceKind::Loopback) {
        auto no_generation = route_.request(set_address_generation(index_, IN6_ADDR_GEN_MODE_NONE),
                                            "set addrgenmode none");
        if (!no_generation && no_generation.error().code() != EAFNOSUPPORT) return no_generation;
    }
    if (identity_.flags != 0) {
        TRY(route_.request(set_flags(index_, identity_.flags),
                           fmt::format("set {} up", identity_.name)));
    }
    // The first of several addresses is what a program speaks from. A new one comes last among
    // those of IPv4, and first among those of IPv6 (ipv6_link_dev_addr), as they are listed.
    auto addresses = identity_.addresses;
    const auto v6 = std::ranges::stable_partition(
        addresses, [](const auto& entry) { return entry.address.family == AF_INET; });
    std::ranges::reverse(v6);
    // The loopback device gets its own from the kernel.
    const auto present = TRY(list_addresses(route_));
    for (const auto& address : addresses) {
        const bool there = std::ranges::any_of(present, [&](const AddressOnLink& entry) {
            return entry.index == index_ && entry.address.address == address.address;
        });
        if (there) continue;
        TRY(route_.request(
            add_address(address, index_),
            fmt::format("add {} to {}", address.address.to_string(), identity_.name)));
    }
    return {};
}

Result<> add_routes(NetlinkSocket& netlink, const std::vector<Route>& routes, int index,
                    bool with_gateway) {
    for (const Route& entry : routes) {
        if (entry.gateway.has_value() != with_gateway) continue;
        const auto to = entry.destination ? entry.destination->to_string() : "default";
        TRY(netlink.request(add_route(entry, index),
                            fmt::format("add route {}/{}", to, entry.prefix_length)));
    }
    return {};
}

Result<> ArrivingDevice::add_routes(bool with_gateway) {
    return with_context(handover::add_routes(route_, identity_.routes, index_, with_gateway),
                        identity_.name);
}

void ArrivingDevice::add_neighbours() {
    for (const auto& neighbour : identity_.neighbours) {
        const auto added = route_.request(add_neighbour(neighbour, index_), "add a neighbour");
        // The table may be full; the service then resolves the address itself.
        if (!added) log_debug("{}, ignoring", added.error().message());
    }
}

Result<> ArrivingDevice::unmute() {
    return created_ ? mute_.set(nft_, false) : Result<>();
}

Result<> ArrivingDevice::announce() const {
    return announcer_ ? announcer_->announce() : Result<>();
}

Result<> ArrivingDevice::outlive() {
    return guardian_ ? guardian_->disarm() : Result<>();
}

Result<> ArrivingDevice::keep() {
    // Also the loopback device's way of making addresses.
    const auto tolerate = [](const Result<>& done) {
        if (!done) log_debug("{}, ignoring: it has no effect on traffic", done.error().message());
    };
    TRY(outlive());
    if (std::exchange(created_, false)) {
        // From here on the device belongs to the service. What is left is tidying, in which a
        // failure harms nobody.
        tolerate(mute_.remove(nft_));
        tolerate(route_.request(set_alias(index_, ""), "remove the alias"));
    }
    const auto generation =
        std::ranges::find(identity_.settings, kAddressGeneration, &Setting::key);
    if (generation != identity_.settings.end()) {
        const auto mode = static_cast<std::uint8_t>(std::stoi(generation->value));
        tolerate(route_.request(set_address_generation(index_, mode), "set addrgenmode"));
    }
    return {};
}

ArrivingDevice::~ArrivingDevice() {
    if (!created_) return;
    const auto deleted = route_.request(delete_link(identity_.name), "remove the prepared device");
    if (!deleted && deleted.error().code() != ENODEV) {
        log_warn("{}: the guardian will try again", deleted.error().describe());
        return;
    }
    static_cast<void>(mute_.remove(nft_));  // Absent when make() failed before it.
    if (guardian_) static_cast<void>(guardian_->disarm());
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

}  // namespace ferry::handover
