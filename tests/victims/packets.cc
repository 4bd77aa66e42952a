// Packet sockets stay bound to their device, with filter, options and memberships, and hear what
// crosses it; one without a protocol hears nothing.
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "victim.h"

namespace {

sockaddr_ll address_of(int fd) {
    sockaddr_ll address = {};
    socklen_t size = sizeof(address);
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    return address;
}

// Sends a datagram over the loopback.
void send_text(const char* text, int port) {
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sendto(fd, text, std::strlen(text), 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to));
    close(fd);
}

bool hears(int fd, const char* text) {
    pollfd waiting = {.fd = fd, .events = POLLIN, .revents = 0};
    while (poll(&waiting, 1, 500) == 1) {
        std::array<char, 2048> packet = {};
        const ssize_t size = recv(fd, packet.data(), packet.size(), MSG_DONTWAIT);
        if (size > 0 && memmem(packet.data(), static_cast<std::size_t>(size), text,
                               std::strlen(text)) != nullptr) {
            return true;
        }
    }
    return false;
}

}  // namespace

int main() {
    victim::arm();
    const int loopback = static_cast<int>(if_nametoindex("lo"));
    const int bound = socket(AF_PACKET, SOCK_DGRAM, 0);
    sock_filter udp[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),  // the protocol in an IP header
                         BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 1),
                         BPF_STMT(BPF_RET | BPF_K, 2048), BPF_STMT(BPF_RET | BPF_K, 0)};
    const sock_fprog filter = {.len = 4, .filter = udp};
    setsockopt(bound, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter));
    const int on = 1;
    setsockopt(bound, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on));
    packet_mreq all = {};
    all.mr_ifindex = loopback;
    all.mr_type = PACKET_MR_ALLMULTI;
    setsockopt(bound, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all));
    sockaddr_ll address = {};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_IP);
    address.sll_ifindex = loopback;
    if (bind(bound, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        victim::fail("bind: %d", errno);
    }
    const int deaf = socket(AF_PACKET, SOCK_RAW, 0);
    send_text("before the move", 9);
    if (!hears(bound, "before the move")) victim::fail("natively deaf");
    victim::wait_for_end();
    const sockaddr_ll now = address_of(bound);
    if (now.sll_ifindex != loopback || now.sll_protocol != htons(ETH_P_IP)) {
        victim::fail("bound to %d for %#x", now.sll_ifindex, ntohs(now.sll_protocol));
    }
    int value = 0;
    socklen_t size = sizeof(value);
    getsockopt(bound, SOL_PACKET, PACKET_AUXDATA, &value, &size);
    if (value != 1) victim::fail("PACKET_AUXDATA");
    std::array<sock_filter, 8> attached = {};
    size = attached.size();
    if (getsockopt(bound, SOL_SOCKET, SO_GET_FILTER, attached.data(), &size) != 0 || size != 4) {
        victim::fail("a filter of %u instructions", size);
    }
    send_text("after the move", 9);
    if (!hears(bound, "after the move")) victim::fail("deaf");
    if (setsockopt(bound, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &all, sizeof(all)) != 0) {
        victim::fail("no membership: %d", errno);
    }
    if (hears(deaf, "move")) victim::fail("not deaf");
    victim::pass();
}
