// Packets for a frozen service are held, not lost: kept away from its sockets, captured, and
// injected again where the service goes on. A client then waits for the freeze and not for its own
// retransmission timer, which is at least 200 ms (RFC 6298 as Linux implements it) and doubles.
//
// A crossing, with what each party sees. S is the source, D the destination, C a client:
//
//  1. D: ArrivingNetwork::prepare. The device exists at D, up and muted; nobody notices.
//  2. S: DepartingNetwork::arm. Messages and guardian are ready.
//  3. S: install(NewConnections). The capture starts, then one rule drops SYNs to the service. C's
//  new
//     connections wait; established ones go on; the service empties its accept queues.
//  4. S: the tree is frozen. Only now
//  5. S: hold_everything. Everything to the service's addresses is dropped after the capture has
//  taken it.
//     S still answers ARP, so C does not lose its neighbour, and what the service said last still
//     goes out: an answer dropped here would have to wait for a retransmission timer of S. Then the
//     sockets are read, in repair mode. C sends: captured, not acknowledged. Nobody sends a reset:
//     packets do not reach a stack in which a socket may be missing.
//  6. S: take_packets. What has been captured so far goes to D with the last state.
//  7. D: sockets are restored in repair mode, bound and connected through the muted device. D:
//  READY.
//  8. S: silence, hold_outgoing. No ARP answer and no packet of the service leaves S, whatever
//  becomes of
//     its sockets; frames that still arrive are captured as before.
//  9. S: commit, COMMIT goes to D with a second take_packets. From here the source never speaks
//  again.
// 10. D: activate. The device is unmuted; sockets leave repair mode.
// 11. D: announce. The switch learns the MAC at its new port, C's caches are refreshed. What C
// sends
//     from here on arrives at D.
// 12. D: PacketReplay::replay of both batches. The stack takes the packets as received; the
//     acknowledgements go to C, which has seen nothing but a late answer.
// 13. D: the tree runs; keep; RUNNING goes to S.
// 14. S: take_packets once more: frames between 9 and 11 that the switch still brought to S. They
// go
//     to D as LATE, which replays them. Packets that arrive twice are duplicates to TCP and
//     ignored.
// 15. D: announce again after 10, 50, 200 ms.
// 16. S: kill the tree, remove the device, release the hold.
//
// On a failure before 9: S: the tree is thawed (sockets leave repair mode), release_and_replay; C
// sees a late answer. D: the destructors remove the device. If S's process is killed at any instant
// before 9, the kernel removes the hold with its netlink socket (NFT_TABLE_F_OWNER, Linux 5.12);
// what was captured is lost, and C's retransmission heals it.
//
// Source relied upon: packet(7), raw(7), linux/netfilter/nf_tables.h, net/ipv4/raw.c.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "handover/hold_target.h"
#include "os/fd.h"

namespace ferry::handover {

// Injects packets into the local stack of the calling thread's network namespace as if they had
// been received. Made before the freeze; used at the destination, and at the source on rollback.
class PacketReplay {
  public:
    static Result<PacketReplay> create();
    // Foreign bytes: a packet that is no whole IPv4 or IPv6 packet is Error::Kind::Corrupt (nothing
    // is sent then). Packets that the stack refuses (no such address any more) are skipped. Returns
    // how many were injected. About 5 us a packet.
    Result<std::size_t> replay(std::span<const HeldPacket> packets);

  private:
    PacketReplay() = default;
    os::UniqueFd v4_, v6_;
};

// More targets than a classic BPF program has room for.
inline constexpr std::size_t kHoldTargetsMax = 200;

// The hold itself. The destructor releases without replaying, and waits for RCU grace periods (20
// to 50 ms): let it run when the service is alive again, after release() or release_and_replay(),
// which are quick. Children forked meanwhile must close their copies of our descriptors, or the
// rules outlive us.
class NetworkHold {
  public:
    // The capture is running when the rules appear, so no packet is dropped unseen. No targets: a
    // hold that does nothing.
    static Result<NetworkHold> install(std::span<const HoldTarget> targets, HoldScope scope);
    NetworkHold(NetworkHold&&) noexcept;
    NetworkHold& operator=(NetworkHold&&) noexcept;
    NetworkHold(const NetworkHold&) = delete;
    NetworkHold& operator=(const NetworkHold&) = delete;
    ~NetworkHold();

    // HoldScope::NewConnections -> Everything, in one transaction. Call it when the tree is frozen
    // and before its sockets are read.
    Result<> hold_everything();
    // Drops what leaves from the targets as well. The tree is frozen and will not go on here.
    Result<> hold_outgoing();
    // Rollback of hold_outgoing(), before the tree is thawed: its first answers must not be
    // dropped.
    Result<> allow_outgoing();
    // Drains the capture, oldest first. While only new connections are held it returns only SYNs.
    Result<std::vector<HeldPacket>> take_packets();
    // Rollback on the source, called when the sockets are out of repair mode: lets packets out,
    // replays `taken` and what is still captured, then lets packets in and replays the tail.
    Result<> release_and_replay(std::span<const HeldPacket> taken);
    // Removes the rules in one transaction; what was captured and not taken is lost.
    Result<> release();
    // Packets lost because more was captured than limits::kHeldBytesMax.
    [[nodiscard]] std::uint64_t lost_packets();

  private:
    struct State;
    explicit NetworkHold(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace ferry::handover
