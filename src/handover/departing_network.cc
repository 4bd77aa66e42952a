#include <fmt/format.h>

#include <cerrno>

#include "base/log.h"
#include "handover/link_guardian.h"
#include "handover/link_messages.h"
#include "handover/mute.h"
#include "handover/network_move.h"
#include "handover/rtnetlink.h"

namespace ferry::handover {
namespace {

struct Device {
    std::string name;
    DeviceMute mute;
    NetlinkSocket route, nft;
    LinkGuardian guardian;
    bool removed = false;
};

Result<std::unique_ptr<Device>> arm_device(const NetworkIdentity& identity) {
    auto route = TRY(NetlinkSocket::open(NETLINK_ROUTE));
    auto nft = TRY(NetlinkSocket::open(NETLINK_NETFILTER));
    const auto link = TRY(find_link(route, identity.name));
    if (!link || link->mac != identity.mac) {
        return fail(Error::gone(fmt::format("device {} has changed", identity.name)));
    }
    // The table is made now and lets everything pass: silencing is then a change of its policy. It
    // goes with the socket, of which the guardian has a copy: when we die before the commit it
    // disappears with the guardian, when we die after it the device goes first.
    DeviceMute mute(identity);
    TRY(mute.install(nft, NftOwner::Yes, false));
    const std::array orders = {
        GuardianOrder{.socket = route.fd(), .messages = delete_link(identity.name)},
        // Never sent anything: only the copy of the socket matters.
        GuardianOrder{.socket = nft.fd(), .messages = {}}};
    auto guardian = TRY(LinkGuardian::start(orders));
    return std::make_unique<Device>(Device{.name = identity.name,
                                           .mute = std::move(mute),
                                           .route = std::move(route),
                                           .nft = std::move(nft),
                                           .guardian = std::move(guardian)});
}

}  // namespace

struct DepartingNetwork::State {
    std::vector<std::unique_ptr<Device>> devices;
    bool committed = false;

    Result<> remove();
    Result<> mute(bool muted);
    ~State() {
        if (!committed) return;  // The mutes go with their sockets.
        if (const auto removed = remove(); !removed) log_warn("{}", removed.error().describe());
    }
};

Result<> DepartingNetwork::State::mute(bool muted) {
    for (auto& device : devices) TRY(device->mute.set(device->nft, muted));
    return {};
}

Result<> DepartingNetwork::State::remove() {
    for (auto& device : devices) {
        if (device->removed) continue;
        const auto deleted = device->route.request(delete_link(device->name),
                                                   fmt::format("remove device {}", device->name));
        if (!deleted && deleted.error().code() != ENODEV) return deleted;
        device->removed = true;
        static_cast<void>(device->guardian.disarm());  // It has nothing left to do.
    }
    return {};
}

DepartingNetwork::DepartingNetwork(std::unique_ptr<State> state) : state_(std::move(state)) {}
DepartingNetwork::DepartingNetwork(DepartingNetwork&&) noexcept = default;
DepartingNetwork& DepartingNetwork::operator=(DepartingNetwork&&) noexcept = default;
DepartingNetwork::~DepartingNetwork() = default;

Result<DepartingNetwork> DepartingNetwork::arm(const ServiceNetwork& network,
                                               const os::NetworkNamespace& space) {
    auto state = std::make_unique<State>();
    for (const NetworkIdentity& identity : network.devices) {
        if (identity.kind == DeviceKind::Loopback) continue;  // Nobody hears it.
        auto device = with_context(space.within([&] { return arm_device(identity); }),
                                   fmt::format("network identity {}", identity.name));
        if (!device) return fail(std::move(device.error()));
        state->devices.push_back(std::move(*device));
    }
    return DepartingNetwork(std::move(state));
}

Result<> DepartingNetwork::silence() {
    return state_->mute(true);
}
Result<> DepartingNetwork::speak() {
    return state_->mute(false);
}

Result<> DepartingNetwork::commit() {
    for (auto& device : state_->devices) TRY(device->guardian.arm());
    state_->committed = true;
    return {};
}

Result<> DepartingNetwork::remove() {
    state_->committed = true;
    return state_->remove();
}

}  // namespace ferry::handover
