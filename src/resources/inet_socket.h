// TCP and UDP sockets over IPv4 and IPv6. The connection itself is in tcp_connection.h.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/files.h"
#include "os/fd.h"
#include "resources/descriptions.h"
#include "resources/socket_options.h"
#include "resources/tcp_connection.h"

namespace ferry::resources {

// SO_DOMAIN, SO_TYPE, SO_PROTOCOL.
Result<SocketKind> socket_kind(int fd);

struct InetReading {
    model::InetSocket socket;   // without `tcp`
    bool needs_repair = false;  // a TCP socket with a peer: read_tcp_connection() must follow
    std::string busy;           // see CollectedFiles::busy
};

// Refused by name: filters, TLS and other upper protocols, MPTCP, UDP with queued data, connections
// where tcp_established is not set. `thorough` also looks at what an application sets up once and
// never changes; it is meant for the time before the freeze.
Result<InetReading> read_inet_socket(int fd, const Holder& holder, const SocketKind& kind,
                                     bool tcp_established, bool thorough);

// Local ports of listening TCP sockets, by family.
using ListeningPorts = std::map<int, std::vector<std::uint16_t>>;

// Whether a handshake (SYN_RECV) with one of these listeners is under way in our network namespace.
// Such connections are in no descriptor table. Costs about a millisecond for each family.
Result<bool> has_handshake_under_way(const ListeningPorts& listening);

// Opens sockets again. Remembers the options of a fresh socket of each kind.
class InetOpener {
  public:
    // Everything but connections: closed, bound, listening, UDP.
    Result<os::UniqueFd> open_plain(const model::InetSocket& socket);
    Result<OpenedConnection> open_connection(const model::InetSocket& socket);

  private:
    Result<const model::SocketOptions*> fresh_options(const SocketKind& kind);
    std::map<SocketKind, model::SocketOptions> fresh_;
};

}  // namespace ferry::resources
