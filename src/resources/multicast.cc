#include "resources/multicast.h"

#include <netinet/in.h>

#include <cerrno>
#include <cstring>

#include "os/fd.h"
#include "os/socket.h"
#include "proc/system_tables.h"
#include "resources/inet_address.h"

namespace ferry::resources {
namespace {

Result<bool> is_member(int fd, int family, const proc::MulticastGroup& group) {
    group_filter question = {};
    question.gf_interface = static_cast<std::uint32_t>(group.device);
    InetEndpoint address = {.family = family, .address = {}, .port = 0};
    std::memcpy(&address.address, group.address.data(), group.address.size());
    question.gf_group = to_address(address).storage;
    const int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
    const auto answer = os::getsockopt_bytes(fd, level, MCAST_MSFILTER,
                                             std::as_writable_bytes(std::span(&question, 1)));
    if (answer) return true;
    if (answer.error().code() == EADDRNOTAVAIL || answer.error().code() == ENODEV) return false;
    return fail(answer.error());
}

}  // namespace

Result<> check_memberships(int fd, int family, const Holder& holder) {
    const bool v4 = family == AF_INET;
    const auto text =
        os::read_file(v4 ? "/proc/thread-self/net/igmp" : "/proc/thread-self/net/igmp6");
    if (!text) {
        if (text.error().code() == ENOENT) return {};  // a kernel without
        return fail(text.error());
    }
    for (const proc::MulticastGroup& group :
         TRY(v4 ? proc::parse_igmp(*text) : proc::parse_igmp6(*text))) {
        if (!TRY(is_member(fd, family, group))) continue;
        return refuse(holder, fmt::format("a UDP socket that is a member of a multicast group on "
                                          "{}, which is not carried: leave the group",
                                          group.device_name));
    }
    return {};
}

}  // namespace ferry::resources
