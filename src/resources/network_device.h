// Network devices by name and by number (netdevice(7)), in the network namespace of a socket.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/files.h"

namespace ferry::resources {

// Gone: there is no such device any more.
Result<std::string> device_name(int socket, std::uint32_t index);
// Invalid: there is no device of this name.
Result<int> device_index(int socket, const std::string& name);

// The scope of an IPv6 socket's addresses: the number of the device that it is bound to here, which
// the kernel has done for whoever bound or connected it to an address of one link. 0: to none.
Result<std::uint32_t> scope_of(int fd, const model::InetSocket& socket);

// The names of those that it needs.
void add_devices(const model::InetSocket& socket, std::set<std::string>& into);

struct DeviceAddress {
    std::string device;
    in_addr address = {};
};
// Of IPv4; the addresses of one device in their order.
Result<std::vector<DeviceAddress>> device_addresses(int socket);

}  // namespace ferry::resources
