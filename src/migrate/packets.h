// Held packets on the migration wire: u32 count, then u32 length and bytes of each.
#pragma once

#include <span>
#include <vector>

#include "base/error.h"
#include "handover/network_hold.h"
#include "model/files.h"

namespace ferry::migrate {

[[nodiscard]] model::Bytes pack_packets(std::span<const handover::HeldPacket> packets);
[[nodiscard]] Result<std::vector<handover::HeldPacket>> unpack_packets(
    std::span<const std::byte> payload);

}  // namespace ferry::migrate
