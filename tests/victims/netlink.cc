// Netlink sockets keep their port, their groups, whom they are connected to and their options, and
// answer as before.
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "victim.h"

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

namespace {

constexpr std::uint32_t kPort = 0x7e000000;

int make(int protocol, std::uint32_t port, std::uint32_t groups) {
    const int fd = socket(AF_NETLINK, SOCK_RAW, protocol);
    sockaddr_nl address = {};
    address.nl_family = AF_NETLINK;
    address.nl_pid = port;
    address.nl_groups = groups;
    if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        victim::fail("bind: %d", errno);
    }
    return fd;
}

void expect_address(const char* what, int fd, std::uint32_t port, std::uint32_t groups) {
    sockaddr_nl address = {};
    socklen_t size = sizeof(address);
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    if (address.nl_pid != port || address.nl_groups != groups) {
        victim::fail("%s: port %u, groups %#x", what, address.nl_pid, address.nl_groups);
    }
}

int option(int fd, int name) {
    int value = -1;
    socklen_t size = sizeof(value);
    getsockopt(fd, SOL_NETLINK, name, &value, &size);
    return value;
}

// Asks for the first device; the answer comes to the socket's port.
void expect_answer(int fd, std::uint32_t port) {
    struct {
        nlmsghdr header;
        ifinfomsg body;
    } question = {};
    question.header.nlmsg_len = sizeof(question);
    question.header.nlmsg_type = RTM_GETLINK;
    question.header.nlmsg_flags = NLM_F_REQUEST;
    question.body.ifi_index = 1;
    if (send(fd, &question, sizeof(question), 0) != sizeof(question)) victim::fail("send");
    std::array<char, 8192> buffer;
    nlmsghdr answer = {};
    const ssize_t size = recv(fd, buffer.data(), buffer.size(), 0);
    std::memcpy(&answer, buffer.data(), sizeof(answer));
    if (size < 0 || answer.nlmsg_type != RTM_NEWLINK || answer.nlmsg_pid != port) {
        victim::fail("answer %d to port %u: %d", answer.nlmsg_type, answer.nlmsg_pid, errno);
    }
}

}  // namespace

int main() {
    victim::arm();
    const std::uint32_t port = kPort + static_cast<std::uint32_t>(getpid());
    const int route = make(NETLINK_ROUTE, port, RTMGRP_LINK | RTMGRP_IPV4_ROUTE);
    const int far_group = RTNLGRP_NSID;
    setsockopt(route, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &far_group, sizeof(far_group));
    const int on = 1;
    setsockopt(route, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
    const int events = make(NETLINK_KOBJECT_UEVENT, port + 0x100000, 1);
    const int fresh = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_GENERIC);
    expect_answer(route, port);
    std::array<std::uint32_t, 8> before = {}, after = {};
    socklen_t size = sizeof(before);
    getsockopt(route, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, before.data(), &size);
    victim::wait_for_end();
    // What happened to devices meanwhile has been told, too.
    for (char byte; recv(route, &byte, 1, MSG_DONTWAIT) > 0;) {
    }
    getsockopt(route, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, after.data(), &size);
    if (before != after) victim::fail("groups %#x instead of %#x", after[0], before[0]);
    expect_address("route", route, port, RTMGRP_LINK | RTMGRP_IPV4_ROUTE | 1u << (far_group - 1));
    expect_address("uevent", events, port + 0x100000, 1);
    expect_address("fresh", fresh, 0, 0);
    if (option(route, NETLINK_EXT_ACK) != 1 || option(route, NETLINK_CAP_ACK) != 0) {
        victim::fail("options");
    }
    expect_answer(route, port);
    victim::pass();
}
