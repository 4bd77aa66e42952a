// Address spaces to and from mm-PID.img. Private to image/.
#pragma once

#include <functional>

#include "base/error.h"
#include "image/proto/ferry.pb.h"
#include "image/proto/memory.pb.h"
#include "model/memory.h"

namespace ferry::image {

// What a mapping's record says of its file.
struct MappedFile {
    std::uint32_t flags = 0;  // F_GETFL
    bool is_memfd = false;
};
using MappedFiles = std::function<MappedFile(model::FileId)>;

// What the format has no field for goes to extra.
Result<> mm_to_wire(const model::AddressSpace& space, const MappedFiles& files, wire::MmEntry& into,
                    wire::FerryProcess& extra);

// extra is empty for an image that CRIU wrote.
Result<model::AddressSpace> mm_from_wire(const wire::MmEntry& from,
                                         const wire::FerryProcess& extra);

}  // namespace ferry::image
