// Address spaces to and from mm-PID.img. Private to image/.
#pragma once

#include <functional>

#include "base/error.h"
#include "image/proto/ferry.pb.h"
#include "image/proto/memory.pb.h"
#include "model/memory.h"

namespace ferry::image {

// flags_of gives the F_GETFL flags of a mapped file. What the format has no field for goes to
// extra.
Result<> mm_to_wire(const model::AddressSpace& space,
                    const std::function<std::uint32_t(model::FileId)>& flags_of,
                    wire::MmEntry& into, wire::FerryProcess& extra);

// extra is empty for an image that CRIU wrote.
Result<model::AddressSpace> mm_from_wire(const wire::MmEntry& from,
                                         const wire::FerryProcess& extra);

}  // namespace ferry::image
