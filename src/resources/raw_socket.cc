#include "resources/raw_socket.h"

#include <netinet/icmp6.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <sstream>
#include <string>

#include "os/fd.h"
#include "os/socket.h"

namespace ferry::resources {
namespace {

constexpr std::size_t kWordDigits = 8;

// "0100007F:0000", or four words of IPv6: each as it is in memory.
std::optional<in6_addr> parse_address(std::string_view text) {
    in6_addr address = {};
    text = text.substr(0, text.find(':'));
    if (text.size() % kWordDigits != 0 || text.size() > 2 * sizeof(address)) return std::nullopt;
    for (std::size_t at = 0; at < text.size(); at += kWordDigits) {
        std::uint32_t word = 0;
        const char* end = text.data() + at + kWordDigits;
        if (std::from_chars(text.data() + at, end, word, 16).ptr != end) return std::nullopt;
        std::memcpy(address.s6_addr + at / 2, &word, sizeof(word));
    }
    return address;
}

}  // namespace

bool is_raw(const SocketKind& kind) {
    constexpr int kForeign[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IGMP};
    return kind.type == SOCK_RAW &&
           std::ranges::find(kForeign, kind.protocol) == std::end(kForeign);
}

Result<std::optional<in6_addr>> raw_peer(int fd, int family) {
    const std::uint64_t wanted = TRY(os::fstat(fd)).st_ino;
    std::istringstream table(TRY(os::read_file(family == AF_INET ? "/proc/thread-self/net/raw"
                                                                 : "/proc/thread-self/net/raw6")));
    std::string line;
    std::getline(table, line);  // the headings
    while (std::getline(table, line)) {
        std::istringstream columns(line);
        std::string number, local, peer, rest;
        std::uint64_t inode = 0;
        columns >> number >> local >> peer;
        for (int i = 0; i < 6; ++i) columns >> rest;  // state, queues, timers, user
        columns >> inode;
        if (inode != wanted) continue;
        const auto address = parse_address(peer);
        if (!columns || !address) return fail(Error::corrupt("the table of raw sockets"));
        const in6_addr nobody = {};
        if (std::memcmp(&*address, &nobody, sizeof(nobody)) == 0) return std::nullopt;
        return address;
    }
    return fail(Error::gone("a raw socket"));
}

Result<std::vector<std::uint32_t>> read_icmp6_filter(int fd, const SocketKind& kind) {
    std::vector<std::uint32_t> words;
    if (kind.family != AF_INET6 || kind.protocol != IPPROTO_ICMPV6) return words;
    words.resize(sizeof(icmp6_filter) / sizeof(std::uint32_t));
    TRY(os::getsockopt_bytes(fd, IPPROTO_ICMPV6, ICMP6_FILTER,
                             std::as_writable_bytes(std::span(words))));
    if (std::ranges::all_of(words, [](std::uint32_t word) { return word == 0; })) words.clear();
    return words;
}

Result<> set_icmp6_filter(int fd, std::span<const std::uint32_t> words) {
    return os::setsockopt_bytes(fd, IPPROTO_ICMPV6, ICMP6_FILTER, std::as_bytes(words));
}

}  // namespace ferry::resources
