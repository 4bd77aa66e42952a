#include "resources/multicast.h"

#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "os/fd.h"
#include "os/socket.h"
#include "resources/inet_address.h"
#include "resources/network_device.h"

namespace ferry::resources {
namespace {

using model::GroupMembership;
using model::InetAddress;

int level_of(int family) {
    return family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
}

sockaddr_storage to_storage(int family, const InetAddress& address) {
    InetEndpoint endpoint = {.family = family, .address = {}, .port = 0};
    std::memcpy(&endpoint.address, address.data(), address.size());
    return to_address(endpoint).storage;
}

Result<InetAddress> from_storage(const sockaddr_storage& storage) {
    const InetEndpoint endpoint =
        TRY(to_endpoint({.storage = storage, .size = sizeof(sockaddr_in6)}));
    InetAddress address = {};
    std::memcpy(address.data(), &endpoint.address, address.size());
    return address;
}

// 224.0.0.1, ff01::1 and ff02::1, in which the kernel itself is on every device.
bool is_all_hosts(const InetAddress& group, int family) {
    if (family == AF_INET)
        return group[0] == 224 && group[1] == 0 && group[2] == 0 && group[3] == 1;
    const bool zeros =
        std::all_of(group.begin() + 2, group.end() - 1, [](auto b) { return b == 0; });
    return group[0] == 0xff && (group[1] == 1 || group[1] == 2) && zeros && group[15] == 1;
}

// The socket's filter of this group. Nothing: it is no member.
Result<std::optional<GroupMembership>> ask(int fd, int family, const proc::MulticastGroup& group) {
    GroupMembership membership = {.family = family, .device = group.device_name, .sources = {}};
    std::memcpy(membership.group.data(), group.address.data(), group.address.size());
    for (std::uint32_t room = 16;;) {
        std::vector<std::byte> buffer(GROUP_FILTER_SIZE(room));
        group_filter filter = {};
        filter.gf_interface = static_cast<std::uint32_t>(group.device);
        filter.gf_group = to_storage(family, membership.group);
        filter.gf_numsrc = room;
        std::memcpy(buffer.data(), &filter, GROUP_FILTER_SIZE(0));
        const auto answer = os::getsockopt_bytes(fd, level_of(family), MCAST_MSFILTER, buffer);
        if (!answer) {
            const int code = answer.error().code();
            // The last: groups of IPv4 and a raw socket of IPv6.
            if (code == EADDRNOTAVAIL || code == ENODEV || code == ENOPROTOOPT) return std::nullopt;
            return fail(answer.error());
        }
        std::memcpy(&filter, buffer.data(), GROUP_FILTER_SIZE(0));
        if (filter.gf_numsrc > room) {
            room = filter.gf_numsrc;
            continue;
        }
        membership.excludes = filter.gf_fmode == MCAST_EXCLUDE;
        for (std::size_t i = 0; i < filter.gf_numsrc; ++i) {
            sockaddr_storage source = {};
            std::memcpy(&source, buffer.data() + GROUP_FILTER_SIZE(i), sizeof(source));
            membership.sources.push_back(TRY(from_storage(source)));
        }
        return membership;
    }
}

Result<> ask_all(int fd, int family, std::span<const proc::MulticastGroup> groups,
                 std::vector<GroupMembership>& into) {
    for (const proc::MulticastGroup& group : groups) {
        auto membership = TRY(ask(fd, family, group));
        if (membership) into.push_back(std::move(*membership));
    }
    return {};
}

// Nobody tells by which address a group was joined; what is joined by the device and an address
// can be left by either. The device's first one is the only one that most have.
Result<> add_addresses(int fd, std::vector<GroupMembership>& memberships) {
    const bool any = std::ranges::any_of(
        memberships, [](const GroupMembership& one) { return one.family == AF_INET; });
    if (!any) return {};
    const std::vector<DeviceAddress> addresses = TRY(device_addresses(fd));
    for (GroupMembership& membership : memberships) {
        if (membership.family != AF_INET) continue;
        const auto first = std::ranges::find(addresses, membership.device, &DeviceAddress::device);
        if (first == addresses.end()) continue;
        std::memcpy(membership.local.data(), &first->address, sizeof(first->address));
    }
    return {};
}

// MCAST_BLOCK_SOURCE, MCAST_JOIN_SOURCE_GROUP
Result<> add_sources(int fd, const GroupMembership& membership, int index, int option) {
    group_source_req request = {};
    request.gsr_interface = static_cast<std::uint32_t>(index);
    request.gsr_group = to_storage(membership.family, membership.group);
    for (const InetAddress& source : membership.sources) {
        request.gsr_source = to_storage(membership.family, source);
        TRY(os::setsockopt(fd, level_of(membership.family), option, request));
    }
    return {};
}

Result<> join(int fd, const GroupMembership& membership) {
    const int index = TRY(with_context(device_index(fd, membership.device),
                                       "a socket that is a member of a multicast group on"));
    if (!membership.excludes) return add_sources(fd, membership, index, MCAST_JOIN_SOURCE_GROUP);
    if (membership.family == AF_INET) {
        ip_mreqn request = {};
        std::memcpy(&request.imr_multiaddr, membership.group.data(), sizeof(in_addr));
        std::memcpy(&request.imr_address, membership.local.data(), sizeof(in_addr));
        request.imr_ifindex = index;
        TRY(os::setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, request));
    } else {
        ipv6_mreq request = {};
        std::memcpy(&request.ipv6mr_multiaddr, membership.group.data(), sizeof(in6_addr));
        request.ipv6mr_interface = static_cast<unsigned>(index);
        TRY(os::setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, request));
    }
    return add_sources(fd, membership, index, MCAST_BLOCK_SOURCE);
}

Result<> leave(int fd, const GroupMembership& membership) {
    group_req request = {};
    request.gr_interface = static_cast<std::uint32_t>(TRY(device_index(fd, membership.device)));
    request.gr_group = to_storage(membership.family, membership.group);
    return os::setsockopt(fd, level_of(membership.family), MCAST_LEAVE_GROUP, request);
}

// Nothing where the kernel has no such file.
Result<std::vector<proc::MulticastGroup>> groups_in(
    const char* path, int family,
    Result<std::vector<proc::MulticastGroup>> (*parse)(std::string_view)) {
    const auto text = os::read_file(path);
    if (!text && text.error().code() == ENOENT) return std::vector<proc::MulticastGroup>();
    if (!text) return fail(text.error());
    auto groups = TRY(parse(*text));
    // Most devices have no others, and asking for each takes the kernel's lock of its devices.
    std::erase_if(groups, [&](const proc::MulticastGroup& group) {
        InetAddress address = {};
        std::memcpy(address.data(), group.address.data(), group.address.size());
        return group.users <= 1 && is_all_hosts(address, family);
    });
    return groups;
}

}  // namespace

Result<> MemberReader::look() {
    v4_ = TRY(groups_in("/proc/thread-self/net/igmp", AF_INET, proc::parse_igmp));
    v6_ = TRY(groups_in("/proc/thread-self/net/igmp6", AF_INET6, proc::parse_igmp6));
    return {};
}

Result<std::vector<GroupMembership>> MemberReader::read(int fd, int family) const {
    std::vector<GroupMembership> memberships;
    TRY(ask_all(fd, AF_INET, v4_, memberships));
    if (family == AF_INET6) TRY(ask_all(fd, AF_INET6, v6_, memberships));
    TRY(add_addresses(fd, memberships));
    return memberships;
}

Result<> join_groups(int fd, std::span<const GroupMembership> groups) {
    for (const GroupMembership& group : groups) TRY(join(fd, group));
    return {};
}

Result<> report_groups(int fd, std::span<const GroupMembership> groups) {
    for (const GroupMembership& group : groups) {
        TRY(leave(fd, group));
        TRY(join(fd, group));
    }
    return {};
}

}  // namespace ferry::resources
