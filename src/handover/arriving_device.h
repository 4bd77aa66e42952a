// One device of an arriving network, and what undoes it. Internal to arriving_network.cc.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "handover/announcement.h"
#include "handover/link_guardian.h"
#include "handover/mute.h"
#include "handover/netlink.h"
#include "handover/network_move.h"
#include "handover/rtnetlink.h"

namespace ferry::handover {

// Where devices appear, and the host's namespace that they lean on. For the time of the making
// only.
struct Site {
    const os::NetworkNamespace& space;
    const Placement& placement;
    os::NetworkNamespace host;
    NetlinkSocket host_route;
    bool separate = false;  // `space` is not the host's

    static Result<Site> open(const os::NetworkNamespace& space, const Placement& placement);
};

// The device that a macvlan is to stand on, or the bridge that a veth is to be plugged into.
// Unsupported: it is missing, down, of another kind or too small.
Result<Link> find_base(NetlinkSocket& host_route, const NetworkIdentity& identity,
                       const Placement& placement);

class ArrivingDevice {
  public:
    // Made, down and muted. What is already there (the loopback device) is taken as it is.
    static Result<std::unique_ptr<ArrivingDevice>> create(const NetworkIdentity& identity,
                                                          Site& site);
    ArrivingDevice(const ArrivingDevice&) = delete;
    ArrivingDevice& operator=(const ArrivingDevice&) = delete;
    // Removes the device, unless it was kept.
    ~ArrivingDevice();

    // Up, with its addresses.
    Result<> bring_up();
    // Until the bridge lets frames of an up device pass: with the spanning tree protocol that takes
    // twice its forward delay, which is 30 seconds at most. The service could not wait so long.
    Result<> await_bridge(NetlinkSocket& host_route) const;
    // Its routes with a gateway or those without one: a gateway can only be named once there is a
    // route to it, which may be another device's.
    Result<> add_routes(bool with_gateway);
    void add_neighbours();

    Result<> unmute();
    Result<> announce() const;
    Result<> outlive();
    Result<> keep();

    // Rules and routes of no device go through any device's socket.
    [[nodiscard]] NetlinkSocket& route() { return route_; }

  private:
    ArrivingDevice(NetworkIdentity identity, NetlinkSocket route, NetlinkSocket nft);
    Result<> make(Site& site);
    Result<> create_link(Site& site);
    Result<> plug_in(Site& site);

    NetworkIdentity identity_;
    DeviceMute mute_;
    NetlinkSocket route_, nft_;  // of the namespace of the device
    int index_ = 0;
    int other_end_ = 0;  // of a veth pair, in the host's namespace
    bool created_ = false;
    std::optional<Announcer> announcer_;
    std::optional<LinkGuardian> guardian_;
};

// Used by both halves of add_routes: index 0 for a route of no device.
Result<> add_routes(NetlinkSocket& netlink, const std::vector<Route>& routes, int index,
                    bool with_gateway);

// Removes a prepared device of that name whose preparer was killed along with its guardian.
// Unsupported: there is a device of that name which is none.
Result<> remove_leftover(NetlinkSocket& route, const NetworkIdentity& identity);

}  // namespace ferry::handover
