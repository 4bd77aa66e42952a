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
// die, so that SIGKILL leaves nothing behind. All calls come from one thread, in the network
// namespace of the service; each is a few netlink messages.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "handover/network_identity.h"

namespace ferry::handover {

// The destination half. Commit or roll back: unless kept, the destructor removes everything it
// made.
class ArrivingNetwork {
  public:
    // Makes each identity's device on `uplink` (empty: the parent's name at the source): up, muted,
    // with its MAC, addresses, routes, neighbours and settings. Long before the freeze.
    // Unsupported: the name, MAC or an address is already in use here, or the uplink is missing.
    static Result<ArrivingNetwork> prepare(std::span<const NetworkIdentity> identities,
                                           const std::string& uplink);
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
    // Commit: the devices stay, whatever happens to us. activate() came before. announce() goes on.
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
    static Result<DepartingNetwork> arm(std::span<const NetworkIdentity> identities);
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
