// What an application has set on its sockets is set afterwards: numbers of every level, and a
// packet filter that still filters.
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "victim.h"

namespace {

struct Set {
    int fd, level, option, value;
    const char* name;
};
std::vector<Set> g_set;

#define SET(fd, level, option, value) set({fd, level, option, value, #option})
void set(const Set& s) {
    if (setsockopt(s.fd, s.level, s.option, &s.value, sizeof(s.value)) != 0) {
        victim::fail("set %s: %d", s.name, errno);
    }
    g_set.push_back(s);
}

int listener(in_port_t& port) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    SET(fd, IPPROTO_TCP, TCP_MAXSEG, 1000);
    SET(fd, IPPROTO_TCP, TCP_FASTOPEN, 5);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) victim::fail("bind");
    listen(fd, 5);
    socklen_t size = sizeof(address);
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    port = address.sin_port;
    return fd;
}

// Lets through what begins with 'a' (a UDP header comes first).
void filter(int fd) {
    sock_filter code[] = {{BPF_LD | BPF_B | BPF_ABS, 0, 0, 8},
                          {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 'a'},
                          {BPF_RET | BPF_K, 0, 0, 0xffff},
                          {BPF_RET | BPF_K, 0, 0, 0}};
    const sock_fprog program = {4, code};
    setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
    SET(fd, SOL_SOCKET, SO_LOCK_FILTER, 1);
}

void expect_filtered(int fd, in_port_t port) {
    sockaddr_in address = {AF_INET, port, {htonl(INADDR_LOOPBACK)}, {}};
    for (const char* text : {"b", "a"}) {
        sendto(fd, text, 1, 0, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    }
    char got[2] = {};
    if (recv(fd, got, 2, MSG_DONTWAIT) != 1 || got[0] != 'a') victim::fail("filter: %s", got);
    if (recv(fd, got, 2, MSG_DONTWAIT) != -1) victim::fail("more than the filter lets through");
}

}  // namespace

int main() {
    victim::arm();
    in_port_t port = 0;
    const int listening = listener(port);
    SET(listening, IPPROTO_IP, IP_TOS, 0x10);
    const int udp = socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in any = {AF_INET, port, {}, {}};
    if (bind(udp, reinterpret_cast<sockaddr*>(&any), sizeof(any)) != 0) victim::fail("bind");
    SET(udp, SOL_SOCKET, SO_TIMESTAMPNS, 1);
    SET(udp, SOL_SOCKET, SO_BUSY_POLL, 50);
    SET(udp, IPPROTO_IP, IP_PKTINFO, 1);
    SET(udp, IPPROTO_IP, IP_TTL, 9);
    SET(udp, IPPROTO_IP, IP_MULTICAST_TTL, 3);
    SET(udp, IPPROTO_IP, IP_RECVERR, 1);
    SET(udp, SOL_SOCKET, SO_TIMESTAMPING, 0x18);  // received packets, by software
    SET(udp, IPPROTO_UDP, UDP_GRO, 1);
    SET(udp, IPPROTO_UDP, UDP_SEGMENT, 1200);
    filter(udp);
    const int six = socket(AF_INET6, SOCK_DGRAM, 0);
    SET(six, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    SET(six, IPPROTO_IPV6, IPV6_TCLASS, 0x20);
    SET(six, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 7);
    SET(six, IPPROTO_IP, IP_TOS, 0x08);
    SET(six, IPPROTO_UDP, UDP_CORK, 1);
    SET(six, IPPROTO_UDP, UDP_NO_CHECK6_TX, 1);
    SET(six, IPPROTO_IPV6, IPV6_2292PKTINFO, 1);
    SET(six, IPPROTO_IPV6, IPV6_UNICAST_IF, static_cast<int>(htonl(1)));
    const int client = socket(AF_INET, SOCK_STREAM, 0);
    SET(client, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384);
    SET(client, IPPROTO_TCP, TCP_SYNCNT, 3);
    SET(client, IPPROTO_IP, IP_TOS, 0x08);
    SET(client, SOL_SOCKET, SO_PEEK_OFF, 3);
    SET(client, IPPROTO_IP, IP_UNICAST_IF, static_cast<int>(htonl(1)));
    victim::wait_for_end();
    for (const Set& s : g_set) {
        int value = -1;
        socklen_t size = sizeof(value);
        getsockopt(s.fd, s.level, s.option, &value, &size);
        if (value != s.value) victim::fail("%s is %d, not %d", s.name, value, s.value);
    }
    expect_filtered(udp, port);
    victim::pass();
}
