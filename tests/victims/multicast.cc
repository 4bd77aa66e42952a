// A socket still is a member of its multicast groups, and only of those: of all sources, of one
// source, of all but one; joined by an address or a device, left by the same. The device that
// multicasts leave by is still the one that was set.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "victim.h"

namespace {

constexpr const char *kAll = "239.195.7.1", *kOfOne = "232.195.7.2", *kSix = "ff02::fe:77",
                     *kSixOfOne = "ff3e::77";

sockaddr_in four(const char* address, in_port_t port = 0) {
    return {AF_INET, port, {inet_addr(address)}, {}};
}
sockaddr_in6 six(const char* address, in_port_t port = 0) {
    sockaddr_in6 made = {AF_INET6, port, 0, {}, 1};
    inet_pton(AF_INET6, address, &made.sin6_addr);
    return made;
}

template <class T>
void set(int fd, int level, int option, const T& value, const char* name) {
    if (setsockopt(fd, level, option, &value, sizeof(value)) != 0) {
        victim::fail("%s: %d", name, errno);
    }
}
#define SET(fd, level, option, value) set(fd, level, option, value, #option)

template <class A>
int bound(A address) {
    const int fd = socket(reinterpret_cast<sockaddr&>(address).sa_family, SOCK_DGRAM, 0);
    SET(fd, SOL_SOCKET, SO_REUSEADDR, 1);  // where both hosts are one, both are bound for a moment
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
        victim::fail("bind: %d", errno);
    }
    return fd;
}
in_port_t port_of(int fd) {
    sockaddr_in6 address = {};
    socklen_t size = sizeof(address);
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    return address.sin6_port;
}

template <class A>
group_source_req source_of(A group, A source) {
    group_source_req request = {};
    request.gsr_interface = 1;  // lo
    std::memcpy(&request.gsr_group, &group, sizeof(group));
    std::memcpy(&request.gsr_source, &source, sizeof(source));
    return request;
}

// What `from` sends to the group arrives at `to`, or does not.
template <class A>
void expect(bool arrives, int from, int to, A group, const char* what) {
    sendto(from, what, 1, 0, reinterpret_cast<sockaddr*>(&group), sizeof(group));
    char got = 0;
    const bool came = recv(to, &got, 1, MSG_DONTWAIT) == 1;
    if (came != arrives) victim::fail("%s: %s", what, came ? "it arrives" : "it does not arrive");
}

// lo has no route for multicasts of IPv6.
void expect_member(int fd, const char* group, std::uint32_t mode) {
    group_filter filter = {};
    filter.gf_interface = 1;
    const sockaddr_in6 address = six(group);
    std::memcpy(&filter.gf_group, &address, sizeof(address));
    socklen_t size = sizeof(filter);
    if (getsockopt(fd, IPPROTO_IPV6, MCAST_MSFILTER, &filter, &size) != 0) {
        victim::fail("%s: no member: %d", group, errno);
    }
    if (filter.gf_fmode != mode) victim::fail("%s: mode %u", group, filter.gf_fmode);
}

}  // namespace

int main() {
    victim::arm();
    const int any = bound(four("0.0.0.0")), of_one = bound(four("0.0.0.0")),
              in_six = bound(six("::"));
    const int one = bound(four("127.0.0.1")), two = bound(four("127.0.0.2"));
    const ip_mreq by_address = {{inet_addr(kAll)}, {htonl(INADDR_LOOPBACK)}};
    SET(any, IPPROTO_IP, IP_ADD_MEMBERSHIP, by_address);
    SET(any, IPPROTO_IP, MCAST_BLOCK_SOURCE, source_of(four(kAll), four("127.0.0.2")));
    SET(of_one, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, source_of(four(kOfOne), four("127.0.0.1")));
    ipv6_mreq by_device = {six(kSix).sin6_addr, 1};
    SET(in_six, IPPROTO_IPV6, IPV6_JOIN_GROUP, by_device);
    SET(in_six, IPPROTO_IPV6, MCAST_JOIN_SOURCE_GROUP,
        source_of(six(kSixOfOne), six("2001:db8::1")));
    for (const int fd : {any, of_one}) SET(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
    for (const int fd : {one, two}) SET(fd, IPPROTO_IP, IP_MULTICAST_IF, by_address.imr_interface);
    SET(in_six, IPPROTO_IPV6, IPV6_MULTICAST_IF, 1);
    victim::wait_for_end();
    expect(true, one, any, four(kAll, port_of(any)), "from any source");
    expect(false, two, any, four(kAll, port_of(any)), "from a source that is blocked");
    expect(true, one, of_one, four(kOfOne, port_of(of_one)), "from the one source");
    expect(false, two, of_one, four(kOfOne, port_of(of_one)), "from another source");
    expect(false, one, of_one, four(kAll, port_of(of_one)), "to a group of somebody else");
    expect_member(in_six, kSix, MCAST_EXCLUDE);
    expect_member(in_six, kSixOfOne, MCAST_INCLUDE);
    SET(any, IPPROTO_IP, IP_DROP_MEMBERSHIP, by_address);
    expect(false, one, any, four(kAll, port_of(any)), "to a group that was left");
    SET(in_six, IPPROTO_IPV6, IPV6_LEAVE_GROUP, by_device);
    int device = 0;
    socklen_t size = sizeof(device);
    getsockopt(in_six, IPPROTO_IPV6, IPV6_MULTICAST_IF, &device, &size);
    if (device != 1) victim::fail("IPV6_MULTICAST_IF is %d", device);
    victim::pass();
}
