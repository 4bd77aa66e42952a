#include "resources/network_device.h"

#include <fmt/format.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "os/fd.h"

namespace ferry::resources {
namespace {

std::string name_in(const char (&name)[IFNAMSIZ]) {
    return std::string(name, ::strnlen(name, sizeof(name)));
}

}  // namespace

Result<std::string> device_name(int socket, std::uint32_t index) {
    ifreq request = {};
    request.ifr_ifindex = static_cast<int>(index);
    const auto found = os::ioctl(socket, SIOCGIFNAME, &request);
    if (!found && found.error().code() == ENODEV) {
        return fail(Error::gone(fmt::format("network device {}", index)));
    }
    TRY(found);
    return name_in(request.ifr_name);
}

Result<int> device_index(int socket, const std::string& name) {
    ifreq request = {};
    if (name.size() >= sizeof(request.ifr_name)) return fail(Error::corrupt("a device's name"));
    std::memcpy(request.ifr_name, name.data(), name.size());
    const auto found = os::ioctl(socket, SIOCGIFINDEX, &request);
    if (!found && found.error().code() == ENODEV) {
        return fail(Error::invalid(fmt::format("network device {}, which is not here", name)));
    }
    TRY(found);
    return request.ifr_ifindex;
}

Result<std::uint32_t> scope_of(int fd, const model::InetSocket& socket) {
    if (socket.family != AF_INET6 || socket.options.bound_device.empty()) return 0;
    return static_cast<std::uint32_t>(TRY(device_index(fd, socket.options.bound_device)));
}

void add_devices(const model::InetSocket& socket, std::set<std::string>& into) {
    const auto add = [&into](const std::string& name) {
        if (!name.empty()) into.insert(name);
    };
    add(socket.options.bound_device);
    for (const model::GroupMembership& group : socket.groups) add(group.device);
    for (const model::DeviceOption& option : socket.device_options) add(option.device);
}

Result<std::vector<DeviceAddress>> device_addresses(int socket) {
    std::vector<ifreq> entries(16);
    ifconf request = {};
    do {
        entries.resize(2 * entries.size());
        request.ifc_len = static_cast<int>(entries.size() * sizeof(ifreq));
        request.ifc_req = entries.data();
        TRY(os::ioctl(socket, SIOCGIFCONF, &request));
        // A list that fills its room may go on.
    } while (static_cast<std::size_t>(request.ifc_len) == entries.size() * sizeof(ifreq));
    entries.resize(static_cast<std::size_t>(request.ifc_len) / sizeof(ifreq));
    std::vector<DeviceAddress> addresses;
    for (const ifreq& entry : entries) {
        if (entry.ifr_addr.sa_family != AF_INET) continue;
        const std::string label = name_in(entry.ifr_name);  // "eth0", or "eth0:1"
        sockaddr_in address = {};
        std::memcpy(&address, &entry.ifr_addr, sizeof(address));
        addresses.push_back(
            {.device = label.substr(0, label.find(':')), .address = address.sin_addr});
    }
    return addresses;
}

}  // namespace ferry::resources
