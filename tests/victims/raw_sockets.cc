// Raw sockets of IP still have their protocol, address, peer and filter: pings are sent and their
// answers come, and what the filter blocks does not.
#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "victim.h"

namespace {

constexpr int kSolRaw = 255, kIcmpFilter = 1;  // linux/icmp.h

int open_raw(int family, int protocol) {
    const int fd = socket(family, SOCK_RAW, protocol);
    if (fd < 0) victim::fail("socket: %d", errno);
    return fd;
}

std::uint16_t checksum_of(const icmphdr& header) {
    std::uint16_t words[sizeof(header) / 2];
    std::memcpy(words, &header, sizeof(header));
    std::uint32_t sum = 0;
    for (const std::uint16_t word : words) sum += word;
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

// To the peer of `fd`.
void ping(int fd) {
    icmphdr header = {};
    header.type = ICMP_ECHO;
    header.un.echo.id = static_cast<std::uint16_t>(getpid());
    header.checksum = checksum_of(header);
    if (send(fd, &header, sizeof(header), 0) != sizeof(header)) victim::fail("send: %d", errno);
}

// The next of our own pings and answers that comes within ten seconds: its type.
int next(int fd) {
    pollfd asked = {fd, POLLIN, 0};
    char packet[512];
    while (poll(&asked, 1, 10000) == 1) {
        if (recv(fd, packet, sizeof(packet), 0) < 28) continue;
        icmphdr header;
        std::memcpy(&header, packet + sizeof(iphdr), sizeof(header));
        if (header.un.echo.id == static_cast<std::uint16_t>(getpid())) return header.type;
    }
    return -1;
}

}  // namespace

int main() {
    victim::arm();
    const int pings = open_raw(AF_INET, IPPROTO_ICMP), whole = open_raw(AF_INET, IPPROTO_RAW),
              six = open_raw(AF_INET6, IPPROTO_ICMPV6);
    const std::uint32_t blocked = 1u << ICMP_ECHO;  // answers only
    setsockopt(pings, kSolRaw, kIcmpFilter, &blocked, sizeof(blocked));
    sockaddr_in address = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {}};
    if (bind(pings, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        connect(pings, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
        victim::fail("bind or connect: %d", errno);
    }
    icmp6_filter wanted;
    ICMP6_FILTER_SETBLOCKALL(&wanted);
    ICMP6_FILTER_SETPASS(ND_ROUTER_ADVERT, &wanted);
    setsockopt(six, IPPROTO_ICMPV6, ICMP6_FILTER, &wanted, sizeof(wanted));
    ping(pings);
    if (next(pings) != ICMP_ECHOREPLY) victim::fail("no answer before");
    victim::wait_for_end();
    ping(pings);
    if (next(pings) != ICMP_ECHOREPLY) victim::fail("no answer, or the filter is gone");
    icmp6_filter now = {};
    socklen_t size = sizeof(now);
    getsockopt(six, IPPROTO_ICMPV6, ICMP6_FILTER, &now, &size);
    if (std::memcmp(&now, &wanted, sizeof(now)) != 0) victim::fail("another filter of ICMPv6");
    int included = 0;
    size = sizeof(included);
    getsockopt(whole, IPPROTO_IP, IP_HDRINCL, &included, &size);
    if (included != 1) victim::fail("IP_HDRINCL is %d", included);
    victim::pass();
}
