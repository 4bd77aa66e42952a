// TCP and UDP sockets over IPv4 and IPv6. The connection itself is in tcp_connection.h.
#pragma once

#include <future>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "model/files.h"
#include "os/fd.h"
#include "resources/descriptions.h"
#include "resources/multicast.h"
#include "resources/plain_options.h"
#include "resources/socket_options.h"
#include "resources/tcp_connection.h"

namespace ferry::resources {

struct InetReading {
    model::InetSocket socket;   // without `tcp`
    bool needs_repair = false;  // a TCP socket with a peer: read_tcp_connection() must follow
    std::string busy;           // see CollectedFiles::busy
};

struct InetOptions {
    // Connections are carried. Without it they are refused by name.
    bool tcp_established = false;
    // Look at what an application sets up once and never changes, and not at unread datagrams:
    // meant for the time before the freeze.
    bool thorough = false;
};
// Refused by name: TLS and other upper protocols, MPTCP, IP options, and what plain_options.h,
// device_options.h and socket_filter.h refuse.
Result<InetReading> read_inet_socket(int fd, const Holder& holder, const SocketKind& kind,
                                     const InetOptions& options, PlainOptionReader& plain,
                                     const MemberReader& groups);

// Local TCP ports by address family.
using PortsByFamily = std::map<int, std::vector<std::uint16_t>>;

// Handshakes under way (SYN_RECV) in our network namespace. They belong to listening sockets but
// are in no descriptor table, and the kernel only lists them by walking all its connections, which
// takes about a millisecond for each family: so a thread looks while the freeze goes on with other
// things.
class HandshakeSearch {
  public:
    // From the thread whose network namespace is meant.
    void start(std::set<int> families);
    // Whether one of them is with a listener at `listening`. Looks itself for families not started.
    Result<bool> concerns(const PortsByFamily& listening);

  private:
    std::set<int> families_;
    std::future<Result<PortsByFamily>> found_;
};

// Gives a UDP socket, which is open and whose address is up, its unread datagrams again: as packets
// of their senders, through loopback, marked with `mark`. A socket that is bound to no address gets
// them at the loopback address, which it does not see: one that asks (IP_PKTINFO) has none.
Result<> deliver_datagrams(const model::InetSocket& socket, std::uint32_t mark);

// Which options let sockets bind to one port.
struct PortSharing {
    bool reuse_port = false, reuse_address = false;
};

// Opens sockets again. Remembers the options of a fresh socket of each kind.
//
// Sockets that share a port had the options for that when they were bound, each of them
// (socket(7)), and may have given them up since: so all of a port have what any of them has, until
// settle().
class InetOpener {
  public:
    // Every socket, before the first is opened.
    void announce(const model::InetSocket& socket);
    // Everything but connections: closed, bound, listening, UDP.
    Result<os::UniqueFd> open_plain(const model::InetSocket& socket);
    Result<OpenedConnection> open_connection(const model::InetSocket& socket);
    // After the last, with all descriptors still open under their numbers.
    Result<> settle();

  private:
    struct Unsettled {
        int fd = -1;
        PortSharing own;
    };
    std::map<std::pair<int, std::uint16_t>, PortSharing> ports_;  // by protocol and port
    std::vector<Unsettled> unsettled_;
    FreshOptions fresh_;
};

}  // namespace ferry::resources
