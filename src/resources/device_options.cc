#include "resources/device_options.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "os/socket.h"
#include "resources/network_device.h"

namespace ferry::resources {
namespace {

using model::DeviceOption;

struct NumberOption {
    int level, option;
    const char* name;
    bool network_order;
    bool datagrams_only;
};
constexpr NumberOption kNumbers[] = {
    {IPPROTO_IP, IP_UNICAST_IF, "IP_UNICAST_IF", true, false},
    {IPPROTO_IPV6, IPV6_UNICAST_IF, "IPV6_UNICAST_IF", true, false},
    {IPPROTO_IPV6, IPV6_MULTICAST_IF, "IPV6_MULTICAST_IF", false, true},
};

const NumberOption* find_number(const DeviceOption& wanted) {
    const auto* found = std::ranges::find_if(kNumbers, [&](const NumberOption& one) {
        return one.level == wanted.level && one.option == wanted.option;
    });
    return found == std::end(kNumbers) ? nullptr : found;
}

bool is_multicast_address(const DeviceOption& option) {
    return option.level == IPPROTO_IP && option.option == IP_MULTICAST_IF;
}

Result<> add_multicast_address(int fd, std::vector<DeviceOption>& into) {
    const in_addr local = TRY(os::getsockopt<in_addr>(fd, IPPROTO_IP, IP_MULTICAST_IF));
    if (local.s_addr == INADDR_ANY) return {};
    DeviceOption option = {.level = IPPROTO_IP, .option = IP_MULTICAST_IF, .device = {}};
    std::memcpy(option.local.data(), &local, sizeof(local));
    for (const DeviceAddress& known : TRY(device_addresses(fd))) {
        if (known.address.s_addr == local.s_addr) option.device = known.device;
    }
    into.push_back(std::move(option));
    return {};
}

Result<> apply_multicast_address(int fd, const DeviceOption& option) {
    ip_mreqn request = {};
    std::memcpy(&request.imr_address, option.local.data(), sizeof(in_addr));
    // By the device as well: the address may come up only later.
    if (!option.device.empty()) request.imr_ifindex = TRY(device_index(fd, option.device));
    return os::setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, request);
}

}  // namespace

Result<std::vector<DeviceOption>> read_device_options(int fd, const SocketKind& kind,
                                                      const Holder& holder) {
    std::vector<DeviceOption> options;
    // Raw sockets of IPv6 have none of IPv4.
    const bool v4 = kind.type != SOCK_RAW || kind.family == AF_INET;
    if (v4 && kind.type != SOCK_STREAM) TRY(add_multicast_address(fd, options));
    for (const NumberOption& number : kNumbers) {
        if (number.level == IPPROTO_IP && !v4) continue;
        if (number.level == IPPROTO_IPV6 && kind.family != AF_INET6) continue;
        if (number.datagrams_only && kind.type == SOCK_STREAM) continue;
        auto value = TRY(os::getsockopt<std::uint32_t>(fd, number.level, number.option));
        if (value == 0) continue;
        if (number.network_order) value = ntohl(value);
        auto device = device_name(fd, value);
        if (!device && device.error().kind() == Error::Kind::Gone) {
            return refuse(holder, fmt::format("a socket whose {} is a network device that is gone: "
                                              "close it",
                                              number.name));
        }
        options.push_back(
            {.level = number.level, .option = number.option, .device = TRY(std::move(device))});
    }
    return options;
}

Result<> apply_device_options(int fd, std::span<const DeviceOption> options) {
    for (const DeviceOption& option : options) {
        if (is_multicast_address(option)) {
            TRY(with_context(apply_multicast_address(fd, option), "IP_MULTICAST_IF"));
            continue;
        }
        const NumberOption* number = find_number(option);
        if (number == nullptr) return fail(Error::corrupt("an option that means a device"));
        auto value = static_cast<std::uint32_t>(
            TRY(with_context(device_index(fd, option.device), number->name)));
        if (number->network_order) value = htonl(value);
        TRY(os::setsockopt(fd, number->level, number->option, value));
    }
    return {};
}

}  // namespace ferry::resources
