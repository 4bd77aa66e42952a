// Moving a network identity: the two halves, DepartingNetwork at the source and ArrivingNetwork at
// the destination. See network_hold.h for the story of a whole crossing.
//
// A device that must exist but not yet act is *muted*: an nftables table of family netdev drops
// every frame at the device's ingress and egress, ARP and neighbour discovery included. A muted
// device is up, has its addresses and routes, sockets can be bound and connected through it, and
// nobody in the network can see it. Unmuting is one netlink transaction, so it is what remains to
// be done inside the freeze.
//
// A guardian (a forked child that shares nothing with us but a pipe) removes the device when we
// die, so that SIGKILL leaves nothing behind. All calls come from one thread, in the host's network
// namespace; each is a few netlink messages.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "handover/address_probe.h"
#include "handover/service_network.h"
#include "os/network_namespace.h"

namespace ferry::handover {

// Where devices are put at the destination.
struct Placement {
    std::string uplink;  // under a macvlan; empty: a device of the same name as at the source
    std::string bridge;  // for a veth pair's other end; empty: as at the source
    // Refused where nobody answers for the addresses, so that the base is not in the source's
    // network; otherwise that is only warned about.
    bool must_be_joined = false;
};

// The destination half. Commit or roll back: unless kept, the destructor removes everything it
// made.
class ArrivingNetwork {
  public:
    // Whether all of it could be made here, before there is a namespace for it. Unsupported: the
    // name, MAC or an address is already in use here or in the network, or the uplink or bridge is
    // missing.
    static Result<> check(const ServiceNetwork& network, const Placement& placement);
    // The same for a service that runs nowhere (it comes out of image files): whoever answers for
    // its addresses has taken them. Asks, and leaves the answers to expect_silence().
    static Result<std::vector<UnclaimedQuestion>> check_unowned(const ServiceNetwork& network,
                                                                const Placement& placement);
    // Makes each device in the namespace `space` (the host's own for a service that has none): up,
    // muted, with its MAC, addresses, routes, neighbours and settings. Long before the freeze.
    // A namespace of its own is empty but for its loopback device, and gets what
    // ServiceNetwork::space says. Unsupported as check() says.
    static Result<ArrivingNetwork> prepare(const ServiceNetwork& network,
                                           const os::NetworkNamespace& space,
                                           const Placement& placement);
    ArrivingNetwork(ArrivingNetwork&&) noexcept;
    ArrivingNetwork& operator=(ArrivingNetwork&&) noexcept;
    ArrivingNetwork(const ArrivingNetwork&) = delete;
    ArrivingNetwork& operator=(const ArrivingNetwork&) = delete;
    ~ArrivingNetwork();

    // Unmutes: from now on packets come in and go out. Undone by the destructor.
    Result<> activate();
    // One round of gratuitous ARP (request and reply) and unsolicited neighbour advertisements for
    // every address. Call it right after activate() and again after 10, 50 and 200 ms: a lost frame
    // otherwise costs the clients a neighbour timeout.
    Result<> announce();
    // Commit: the devices stay, whatever happens to us. activate() came before. One message to each
    // guardian.
    Result<> outlive();
    // The same, and what was only needed until then is removed, which takes some milliseconds.
    // announce() goes on.
    Result<> keep();

  private:
    struct State;
    explicit ArrivingNetwork(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// The source half. Until commit() nothing that it does outlives it or its process.
class DepartingNetwork {
  public:
    // Before the freeze: looks the devices up and prepares every message and the guardian.
    // `space` is where they are.
    static Result<DepartingNetwork> arm(const ServiceNetwork& network,
                                        const os::NetworkNamespace& space);
    DepartingNetwork(DepartingNetwork&&) noexcept;
    DepartingNetwork& operator=(DepartingNetwork&&) noexcept;
    DepartingNetwork(const DepartingNetwork&) = delete;
    DepartingNetwork& operator=(const DepartingNetwork&) = delete;
    // Unmutes, unless committed; then removes the devices.
    ~DepartingNetwork();

    // Mutes the devices: no ARP answer leaves any more. A NetworkHold's capture still sees what
    // arrives.
    Result<> silence();
    // Rollback of silence().
    Result<> speak();
    // The point of no return: from here on the guardian removes the devices even if we die.
    Result<> commit();
    // Removes the devices (some milliseconds; call it when the service already runs elsewhere, and
    // after the last NetworkHold::take_packets()).
    Result<> remove();

  private:
    struct State;
    explicit DepartingNetwork(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace ferry::handover
