// Sends every datagram back to where it came from: the far end of the lab's UDP probe. Port 7, as
// RFC 862 has it; IPv4 and IPv6 through one socket. Runs inside the site's container.
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdio>

int main() {
    constexpr in_port_t kEchoPort = 7;
    const int fd = ::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const int no = 0;
    ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    sockaddr_in6 own = {};
    own.sin6_family = AF_INET6;
    own.sin6_addr = in6addr_any;
    own.sin6_port = htons(kEchoPort);
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) {
        std::perror("udp-echo: bind");
        return 1;
    }
    std::array<char, 65536> datagram;
    for (;;) {
        sockaddr_storage peer;
        socklen_t peer_bytes = sizeof peer;
        const ssize_t got = ::recvfrom(fd, datagram.data(), datagram.size(), 0,
                                       reinterpret_cast<sockaddr*>(&peer), &peer_bytes);
        // An error is one that an earlier answer caused at its receiver: not the service's concern.
        if (got < 0) continue;
        static_cast<void>(::sendto(fd, datagram.data(), static_cast<std::size_t>(got), 0,
                                   reinterpret_cast<const sockaddr*>(&peer), peer_bytes));
    }
}
