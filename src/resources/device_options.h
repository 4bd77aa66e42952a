// Options of internet sockets whose value is a network device: IP_MULTICAST_IF, IP_UNICAST_IF and
// those of IPv6. A device that IP_MULTICAST_IF was given by its number alone (ip_mreqn) is shown
// nowhere.
#pragma once

#include <span>
#include <vector>

#include "base/error.h"
#include "model/multicast.h"
#include "resources/descriptions.h"
#include "resources/socket_kind.h"

namespace ferry::resources {

// Unsupported: such a device is gone.
Result<std::vector<model::DeviceOption>> read_device_options(int fd, const SocketKind& kind,
                                                             const Holder& holder);
// Invalid: such a device is not here.
Result<> apply_device_options(int fd, std::span<const model::DeviceOption> options);

}  // namespace ferry::resources
