// A TCP connection by way of TCP_REPAIR (tcp(7), the kernel's net/ipv4/tcp.c and tcp_output.c):
// read from a socket in repair mode, made again without a packet on the wire, and let live.
#pragma once

#include <netinet/tcp.h>

#include <cstdint>

#include "base/error.h"
#include "model/files.h"
#include "os/fd.h"
#include "resources/inet_address.h"
#include "resources/socket_options.h"

namespace ferry::resources {

Result<> enter_repair(int fd);
// Both also put SO_REUSEADDR back, which the kernel clears on leaving. The first sends a window
// probe, whose answer tells this side what the peer got meanwhile; the other sends nothing
// (TCP_REPAIR_OFF_NO_WP, Linux 4.19).
Result<> leave_repair(int fd, bool reuse_address);
Result<> leave_repair_silently(int fd, bool reuse_address);

Result<tcp_info> tcp_info_of(int fd);

// The socket is in repair mode. `state` is TCP_INFO's, read in repair mode as well. On return the
// socket's repair queue is the receive queue: with the send queue selected, an arriving ACK would
// make the kernel mark unsent data as sent without sending it (tcp_write_xmit).
Result<model::TcpConnection> read_tcp_connection(int fd, const tcp_info& info);

// The states of TCP_INFO that TCP_REPAIR can carry.
[[nodiscard]] bool has_peer(int state);
[[nodiscard]] bool has_sent_fin(int state);
[[nodiscard]] bool has_received_fin(int state);

// What is left to do when a connection goes live.
struct DormantConnection {
    int fd = -1;  // owned elsewhere
    int state = 0;
    InetEndpoint source, destination;
    std::uint32_t send_sequence = 0;     // first byte that the peer has not acknowledged
    std::uint32_t receive_sequence = 0;  // next byte expected of the peer
    model::Bytes unsent;
    bool transparent = false;
    bool sizes_forced = false;
    model::SocketOptions options;
};

struct OpenedConnection {
    os::UniqueFd fd;
    DormantConnection dormant;
};

// Makes the connection of `socket` (which has `tcp` set) in repair mode: silent. `fresh` are the
// options of a new socket of this kind. Needs a route to the peer.
Result<OpenedConnection> open_tcp_connection(const model::InetSocket& socket,
                                             const model::SocketOptions& fresh);

// Brings a half-closed connection into its state; nothing that leaves this host is needed for it.
Result<> settle_tcp_connection(const DormantConnection& connection, std::uint32_t inject_mark);
// After settle_tcp_connection(): leaves repair and sends what was never sent.
Result<> wake_tcp_connection(const DormantConnection& connection);

}  // namespace ferry::resources
