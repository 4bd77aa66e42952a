// A packet socket that takes a copy of every packet for given targets before netfilter can drop it.
//
// Source relied upon: packet(7), linux/filter.h, Documentation/networking/filter.rst.
#pragma once

#include <linux/filter.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "handover/hold_target.h"
#include "os/fd.h"

namespace ferry::handover {

enum class CaptureScope : std::uint8_t { NewConnections, Tcp, Everything };

// The classic BPF program that accepts packets for the targets (received by this host, not sent by
// it or overheard, and not replayed): all of them, all TCP, or only TCP SYNs. It sees a packet from
// its IP header on.
[[nodiscard]] std::vector<sock_filter> capture_filter(std::span<const HoldTarget> targets,
                                                      CaptureScope scope);

class PacketCapture {
  public:
    // Captures from here on, in the calling thread's network namespace, on every device.
    static Result<PacketCapture> start(std::span<const HoldTarget> targets, CaptureScope scope);
    // Exchanges the filter; no packet that both filters accept is missed. Packets that passed the
    // filter before may still be on their way to their sockets.
    Result<> widen(std::span<const HoldTarget> targets, CaptureScope scope);
    // Everything captured so far, oldest first; does not wait.
    Result<std::vector<HeldPacket>> take();
    // Packets that did not fit (limits::kHeldBytesMax) or were longer than kIpPacketBytesMax.
    [[nodiscard]] std::uint64_t lost();

  private:
    explicit PacketCapture(os::UniqueFd fd) : fd_(std::move(fd)) {}
    // Closing it waits for an RCU grace period (some milliseconds).
    os::UniqueFd fd_;
    std::uint64_t lost_ = 0;
};

}  // namespace ferry::handover
