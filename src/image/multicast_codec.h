// What an internet socket has to do with network devices, of which CRIU's format knows nothing, to
// and from ferry.json. Private to image/.
#pragma once

#include "base/error.h"
#include "image/proto/ferry.pb.h"
#include "model/files.h"

namespace ferry::image {

// True if there is anything.
bool devices_to_extra(const model::InetSocket& socket, wire::FerrySocket& extra);
Result<> devices_from_extra(const wire::FerrySocket& extra, model::InetSocket& into);

}  // namespace ferry::image
