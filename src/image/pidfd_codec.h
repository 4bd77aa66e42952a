// pidfds to and from their records. Private to image/.
#pragma once

#include "base/error.h"
#include "image/proto/ferry.pb.h"
#include "image/proto/files.pb.h"
#include "model/files.h"

namespace ferry::image {

// All but id and owner. `extra` gets the wait status of a task that has ended, which CRIU's record
// has no field for; true if it has one.
bool pidfd_to_wire(const model::OpenFile& file, const model::PidFile& pidfd, wire::PidfdFile& into,
                   wire::FerryFile& extra);
// Corrupt: a task or a wait status that cannot be.
Result<model::PidFile> pidfd_from_wire(const wire::PidfdFile& from, const wire::FerryFile& extra);

// CRIU's record has the flags of pidfd_open(2); those of the open file description have O_RDWR.
[[nodiscard]] std::uint32_t pidfd_file_flags(std::uint32_t opening_flags);

}  // namespace ferry::image
