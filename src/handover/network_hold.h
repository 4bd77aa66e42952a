// Packets for a frozen service are held, not lost: kept away from its sockets, captured, and
// injected again where the service goes on. A client then waits for the freeze and not for its own
// retransmission timer, which is at least 200 ms (RFC 6298 as Linux implements it) and doubles.
//
// A crossing, with what each party sees. S is the source, D the destination, C a client:
//
//  1. D: ArrivingNetwork::prepare. The device exists at D, up and muted; nobody notices.
//  2. S: DepartingNetwork::arm. Messages and guardian are ready.
//  3. S: install(NewConnections). The capture starts, then one rule drops SYNs to the service. C's
//     new connections wait; established ones go on; the service empties its accept queues.
//  4. S: capture_connections, then the tree is frozen. Only now
//  5. S: hold_everything. Everything to the service's addresses is dropped after the capture has
//     taken it, and S's stack falls silent: what the service said last has left by now, or counts
//     as unsent and is sent by D. S still answers ARP, so C does not lose its neighbour. Then the
//     sockets are read, in repair mode. C sends: captured, not acknowledged. Nobody sends a reset:
//     packets do not reach a stack in which a socket may be missing.
//  6. D: sockets are restored in repair mode, bound and connected through the muted device. D:
//     READY.
//  7. S: silence. No ARP answer leaves S any more, whatever becomes of its sockets; frames that
//     still arrive are captured as before.
//  8. S: commit, COMMIT goes to D with take_packets. From here the source never speaks again.
//  9. D: PacketReplay::replay of what belongs to known connections, the device still muted.
// 10. D: activate, announce. The switch learns the MAC at its new port, C's caches are refreshed.
//     What C sends from here on arrives at D.
// 11. D: sockets leave repair mode: each sends one window probe, which acknowledges all that was
//     held. C answers, and sends what waited for that acknowledgement.
// 12. D: the rest is replayed: new connections, datagrams. The tree runs; keep; RUNNING goes to S.
// 13. S: take_packets again and again: frames between 8 and 10 that the switch still brought to S.
//     They go to D, which replays them. Packets that arrive twice are duplicates to TCP and
//     ignored.
// 14. D: announce again after 10, 50, 200 ms.
// 15. S: kill the tree, remove the device, release the hold.
//
// Why no segment of an established connection is lost on the way, or comes too late to be taken:
//
//   * The state that is read in 5 has what the stack took before; the capture has what came to a
//     device after 4. A segment is neither only if it passed the tap before 4 and reached its
//     socket after 5, but the way between is one run of a softirq, which no task interrupts, and in
//     the meantime every thread of the tree was stopped. (The other order, capture and rule side by
//     side in 5, left it microseconds.) What is in both is a duplicate, which TCP drops.
//   * Once the sockets are read, S's stack says nothing about them: an acknowledgement sent then
//     (its timer runs 40 ms) would be of bytes that D has only from the capture, a segment sent
//     then would not be among those that D counts as sent, and both would carry timestamps that
//     D's clock, which goes on from the moment of reading, has yet to reach: C would drop what D
//     says as old (PAWS, RFC 7323).
//   * Held segments are older than any that C sends to D by itself, so they go first (9, not after
//     10 or 11). In the other order D acknowledges something, C at once sends on, and D takes a
//     newer segment: the held ones that follow fail PAWS, and C must send them again, which takes
//     its retransmission timer where nothing else comes behind. D's acknowledgements during the
//     replay are dropped by the mute, so that C does not speak before all is in; the probe of 11
//     stands for them. A SYN must be answered: hence 12.
//   * What comes to S between 8 and 10 overtakes nothing: it is newer than what was held, and C
//     sends something newer yet to D only if it does not wait for these. If it does, they are there
//     with 13, within milliseconds; if it does not, D's selective acknowledgements make it repeat
//     them at once.
//
// On a failure before 8: S: the tree is thawed (sockets leave repair mode), release_and_replay; C
// sees a late answer. D: the destructors remove the device. If S's process is killed at any instant
// before 8, the kernel removes the hold with its netlink socket (NFT_TABLE_F_OWNER, Linux 5.12);
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

enum class ReplayPart : std::uint8_t {
    All,
    KnownConnections,  // TCP without SYN: their sockets need no answer to leave to take them
    Rest,
};

// Replayed packets come in through the loopback device, where a firewall lets in what it would not
// from outside. Where there is one, what no socket expects is left to its sender to repeat.
enum class Firewall : std::uint8_t { No, Yes };

// Injects packets into the local stack of the calling thread's network namespace as if they had
// been received. Made before the freeze; used at the destination, and at the source on rollback.
class PacketReplay {
  public:
    static Result<PacketReplay> create(Firewall firewall = Firewall::No);
    // Foreign bytes: a packet that is no whole IPv4 or IPv6 packet is Error::Kind::Corrupt (nothing
    // is sent then). Packets that the stack refuses (no such address any more) are skipped. Returns
    // how many were injected. About 5 us a packet.
    Result<std::size_t> replay(std::span<const HeldPacket> packets,
                               ReplayPart part = ReplayPart::All);

  private:
    PacketReplay() = default;
    Firewall firewall_ = Firewall::No;
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
    static Result<NetworkHold> install(std::span<const HoldTarget> targets, HoldScope scope,
                                       Firewall firewall = Firewall::No);
    NetworkHold(NetworkHold&&) noexcept;
    NetworkHold& operator=(NetworkHold&&) noexcept;
    NetworkHold(const NetworkHold&) = delete;
    NetworkHold& operator=(const NetworkHold&) = delete;
    ~NetworkHold();

    // From now on every TCP packet is captured as well, though none but SYNs is dropped. Call it
    // just before the tree is frozen.
    Result<> capture_connections();
    // HoldScope::NewConnections -> Everything, in one transaction. Call it when the tree is frozen
    // and before its sockets are read.
    Result<> hold_everything();
    // Before the tree is thawed: its first answers must not be dropped.
    Result<> allow_outgoing();
    // Drains the capture, oldest first.
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
