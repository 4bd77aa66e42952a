#include "resources/tcp_connection.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <thread>

#include "base/limits.h"
#include "base/log.h"
#include "os/endpoint.h"
#include "os/socket.h"
#include "resources/network_device.h"
#include "resources/tcp_segment.h"

namespace ferry::resources {
namespace {

using model::TcpConnection;

// enum values of the kernel's tcp.h that glibc does not name.
constexpr int kRepairOff = 0;
constexpr int kRepairOn = 1;
constexpr int kRepairOffSilently = -1;
constexpr int kNoQueue = 0;
constexpr int kReceiveQueue = 1;
constexpr int kSendQueue = 2;

// A segment of the send queue that the peer acknowledged in part is peeked whole.
constexpr std::size_t kPartlyAcknowledgedMax = 64 * 1024;
// The kernel puts one chunk into one buffer; larger ones need contiguous memory (tcp_send_rcvq).
constexpr std::size_t kQueueChunk = 32 * 1024;

// The first repetition after a restore may come that much later than in a new connection.
constexpr std::uint32_t kLatelyMs = 200;

// What TCP_MAXSEG takes (TCP_MIN_MSS and MAX_TCP_WINDOW of the kernel's tcp.h).
constexpr std::uint32_t kUserSegmentMin = 88;
constexpr std::uint32_t kUserSegmentMax = 32767;

Result<> select_queue(int fd, int queue) {
    return os::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue);
}

Result<std::uint32_t> queue_length(int fd, unsigned long request) {
    int length = 0;
    TRY(os::ioctl(fd, request, &length));
    if (length < 0 || static_cast<std::uint32_t>(length) > limits::kQueueBytesMax) {
        return fail(Error::limit(fmt::format("a TCP queue of {} bytes", length)));
    }
    return static_cast<std::uint32_t>(length);
}

Result<> read_send_queue(int fd, int state, TcpConnection& connection) {
    std::uint32_t queued = TRY(queue_length(fd, SIOCOUTQ));
    std::uint32_t unsent = TRY(queue_length(fd, SIOCOUTQNSD));
    TRY(select_queue(fd, kSendQueue));
    std::uint32_t sequence = TRY(os::getsockopt<std::uint32_t>(fd, IPPROTO_TCP, TCP_QUEUE_SEQ));
    if (has_sent_fin(state)) {
        // The FIN counts as one byte of sequence space in all three.
        sequence -= 1;
        if (queued > 0) queued -= 1;
        if (unsent > 0) unsent -= 1;
    }
    connection.send_sequence = sequence - queued;
    connection.unsent_bytes = unsent;
    if (queued == 0) return {};
    model::Bytes& bytes = connection.send_queue;
    bytes.resize(queued + kPartlyAcknowledgedMax);
    const std::size_t size = TRY(os::recv(fd, bytes, MSG_PEEK | MSG_DONTWAIT));
    if (size < queued) {
        return fail(Error::corrupt(fmt::format("{} of {} bytes of a send queue", size, queued)));
    }
    bytes.resize(size);
    bytes.erase(bytes.begin(), bytes.end() - queued);
    return {};
}

// A peek begins at SO_PEEK_OFF and moves it on: it is the socket's own state, and is put back.
Result<std::size_t> peek_from_start(int fd, std::span<std::byte> into) {
    constexpr int kNone = -1;
    const int before = TRY(os::getsockopt<int>(fd, SOL_SOCKET, SO_PEEK_OFF));
    if (before != kNone) TRY(os::setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, kNone));
    const auto size = os::recv(fd, into, MSG_PEEK | MSG_DONTWAIT);
    if (before != kNone) TRY(os::setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, before));
    return size;
}

Result<> read_receive_queue(int fd, int state, TcpConnection& connection) {
    const std::uint32_t queued = TRY(queue_length(fd, SIOCINQ));
    TRY(select_queue(fd, kReceiveQueue));
    std::uint32_t sequence = TRY(os::getsockopt<std::uint32_t>(fd, IPPROTO_TCP, TCP_QUEUE_SEQ));
    if (has_received_fin(state)) sequence -= 1;
    connection.receive_sequence = sequence - queued;
    if (queued == 0) return {};
    connection.receive_queue.resize(queued);
    const std::size_t size = TRY(peek_from_start(fd, connection.receive_queue));
    if (size != queued) {
        return fail(Error::unsupported(fmt::format(
            "{} of {} received bytes can be read: TCP urgent data is not carried", size, queued)));
    }
    return {};
}

Result<> read_window(int fd, TcpConnection& connection) {
    const auto window = TRY(os::getsockopt<tcp_repair_window>(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW));
    connection.has_window = true;
    connection.send_wl1 = window.snd_wl1;
    connection.send_window = window.snd_wnd;
    connection.max_window = window.max_window;
    connection.receive_window = window.rcv_wnd;
    connection.receive_wup = window.rcv_wup;
    return {};
}

Result<> set_sequence(int fd, int queue, std::uint32_t sequence) {
    TRY(select_queue(fd, queue));
    return os::setsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, sequence);
}

Result<> set_stream_options(int fd, const TcpConnection& tcp) {
    std::array<tcp_repair_opt, 4> options = {};
    std::size_t count = 0;
    if (tcp.sack) options[count++] = {.opt_code = TCPOPT_SACK_PERMITTED, .opt_val = 0};
    if (tcp.window_scaling) {
        options[count++] = {.opt_code = TCPOPT_WINDOW,
                            .opt_val = static_cast<std::uint32_t>(tcp.send_window_scale) |
                                       static_cast<std::uint32_t>(tcp.receive_window_scale) << 16};
    }
    if (tcp.timestamps) options[count++] = {.opt_code = TCPOPT_TIMESTAMP, .opt_val = 0};
    options[count++] = {.opt_code = TCPOPT_MAXSEG, .opt_val = tcp.mss_clamp};
    TRY(os::setsockopt_bytes(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS,
                             std::as_bytes(std::span(options.data(), count))));
    // The lowest bit was given up to tell the clock's unit (Linux 6.7): two more, and the clock
    // never goes back behind what the service has sent. A timestamp from before is no round trip.
    if (tcp.timestamps) {
        TRY(os::setsockopt(fd, IPPROTO_TCP, TCP_TIMESTAMP, tcp.timestamp + 2));
    }
    return {};
}

Result<> fill_queue(int fd, int queue, std::span<const std::byte> bytes) {
    TRY(select_queue(fd, queue));
    while (!bytes.empty()) {
        const auto chunk = bytes.subspan(0, std::min(bytes.size(), kQueueChunk));
        bytes = bytes.subspan(TRY(os::send(fd, chunk, MSG_DONTWAIT)));
    }
    return {};
}

// The bookkeeping of a buffer is larger than its content, and by how much depends on how it came.
Result<> make_room(int fd, int option, std::size_t bytes, std::uint32_t at_least) {
    const int size = static_cast<int>(std::max<std::size_t>(at_least, bytes * 4 + kQueueChunk * 4));
    return os::setsockopt(fd, SOL_SOCKET, option, size);
}

std::span<const std::byte> sent_part(const TcpConnection& tcp) {
    const std::span<const std::byte> send_queue = tcp.send_queue;
    return send_queue.first(send_queue.size() - tcp.unsent_bytes);
}

// A connection without a round trip measured waits 3 s before it sends anything again
// (TCP_TIMEOUT_FALLBACK, tcp_init_metrics), and repair gives it none: if the first answer after the
// restore were lost, the client would wait that long. So where nothing is in flight, the last byte
// that the peer has acknowledged is queued as sent once more. The answer to the window probe that
// ends repair acknowledges it, which is a measurement. Nobody ever reads it: to the peer it is old.
//
// What is measured is the age of the timestamp that the answer echoes (Linux takes no other sample
// of bytes queued in repair mode, TCPCB_REPAIRED): that of the last segment the service sent. So a
// connection that has long been silent is not measured: it would wait that long before it repeats.
bool measures_round_trip(const model::InetSocket& socket) {
    const TcpConnection& tcp = *socket.tcp;
    return socket.state == TCP_ESTABLISHED && tcp.timestamps && tcp.sent_lately &&
           sent_part(tcp).empty();
}

Result<> fill_queues(int fd, const model::InetSocket& socket) {
    const TcpConnection& tcp = *socket.tcp;
    if (measures_round_trip(socket)) {
        constexpr std::array<std::byte, 1> kOld = {};
        TRY(with_context(fill_queue(fd, kSendQueue, kOld), "round trip"));
    }
    const auto sent = sent_part(tcp);
    if (!sent.empty()) {
        TRY(make_room(fd, SO_SNDBUFFORCE, sent.size(), socket.options.send_buffer));
        TRY(with_context(fill_queue(fd, kSendQueue, sent), "send queue"));
    }
    if (!tcp.receive_queue.empty()) {
        TRY(make_room(fd, SO_RCVBUFFORCE, tcp.receive_queue.size(), socket.options.receive_buffer));
        TRY(with_context(fill_queue(fd, kReceiveQueue, tcp.receive_queue), "receive queue"));
    }
    // Not the send queue, for the reason given at read_tcp_connection().
    return select_queue(fd, kNoQueue);
}

Result<> set_window(int fd, const TcpConnection& tcp, int state) {
    if (!tcp.has_window) return {};
    tcp_repair_window window = {.snd_wl1 = tcp.send_wl1,
                                .snd_wnd = tcp.send_window,
                                .max_window = tcp.max_window,
                                .rcv_wnd = tcp.receive_window,
                                .rcv_wup = tcp.receive_wup};
    const std::uint32_t next =
        tcp.receive_sequence + static_cast<std::uint32_t>(tcp.receive_queue.size());
    if (has_received_fin(state) && window.rcv_wup == next + 1) {
        // The FIN comes again and moves the window's left edge over itself.
        window.rcv_wup -= 1;
        window.rcv_wnd += 1;
    }
    return os::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, window);
}

int transparent_option(int family) {
    return family == AF_INET ? IP_TRANSPARENT : IPV6_TRANSPARENT;
}
int address_level(int family) {
    return family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
}

Result<> set_transparent(int fd, int family, bool on) {
    const int value = on ? 1 : 0;
    return os::setsockopt(fd, address_level(family), transparent_option(family), value);
}

Result<DormantConnection> dormant_of(int fd, const model::InetSocket& socket) {
    const TcpConnection& tcp = *socket.tcp;
    DormantConnection dormant;
    dormant.fd = fd;
    dormant.state = socket.state;
    const std::uint32_t scope = TRY(scope_of(fd, socket));
    dormant.source = {socket.family, socket.source, socket.source_port, scope};
    dormant.destination = {socket.family, socket.destination, socket.destination_port, scope};
    dormant.send_sequence = tcp.send_sequence;
    dormant.receive_sequence =
        tcp.receive_sequence + static_cast<std::uint32_t>(tcp.receive_queue.size());
    dormant.unsent.assign(tcp.send_queue.end() - tcp.unsent_bytes, tcp.send_queue.end());
    dormant.transparent = socket.transparent;
    dormant.sizes_forced = !tcp.send_queue.empty() || !tcp.receive_queue.empty();
    dormant.options = socket.options;
    return dormant;
}

Result<> bind_and_connect(int fd, const model::InetSocket& socket, const DormantConnection& names) {
    // The source address is not ours yet while the network is handed over; this binds it regardless
    // and lets a route be found for it.
    TRY(set_transparent(fd, socket.family, true));
    TRY(os::bind(fd, to_address(names.source)));
    const TcpConnection& tcp = *socket.tcp;
    TRY(set_sequence(fd, kReceiveQueue, tcp.receive_sequence));
    // A connect that was under way is made again by wake_tcp_connection(); its SYN, one byte of
    // sequence space, must carry the same number.
    const bool connecting = socket.state == TCP_SYN_SENT;
    const bool one_before = connecting || measures_round_trip(socket);
    TRY(set_sequence(fd, kSendQueue, one_before ? tcp.send_sequence - 1 : tcp.send_sequence));
    if (connecting) {
        // Before the peer has said its own, the clamp is what was set, or this.
        constexpr std::uint32_t kUnsetSegment = 536;  // TCP_MSS_DEFAULT, linux/tcp.h
        if (tcp.mss_clamp == kUnsetSegment) return {};
        return os::setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, tcp.mss_clamp);
    }
    // The segment size is only computed on connecting, from this; repairing the clamp afterwards
    // does not compute it again, and the connection would stay at the 536 bytes of one without
    // options.
    const std::uint32_t segment = std::clamp(tcp.mss_clamp, kUserSegmentMin, kUserSegmentMax);
    TRY(os::setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, segment));
    TRY(os::connect(fd, to_address(names.destination)));
    constexpr std::uint32_t kNone = 0;
    return os::setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, kNone);
}

constexpr auto kStateTimeout = std::chrono::milliseconds(200);

// The segment passes through loopback; in the common case it has arrived when send() returns.
Result<> await_state(int fd, int state) {
    const auto deadline = std::chrono::steady_clock::now() + kStateTimeout;
    for (;;) {
        const tcp_info info = TRY(tcp_info_of(fd));
        if (info.tcpi_state == state) return {};
        if (std::chrono::steady_clock::now() > deadline) {
            return fail(
                Error::make(Error::Kind::Aborted,
                            fmt::format("a half-closed TCP connection stays in state {}, not "
                                        "{}: is a packet filter in the way?",
                                        info.tcpi_state, state)));
        }
        std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
}

// Puts our FIN into the send queue as if it had been sent.
Result<> shut_down_silently(int fd) {
    TRY(select_queue(fd, kSendQueue));
    TRY(os::shutdown(fd, SHUT_WR));
    return select_queue(fd, kNoQueue);
}

struct FinPlan {
    bool ours_first = false;    // FIN_WAIT1, FIN_WAIT2, CLOSING
    bool theirs = false;        // CLOSE_WAIT, CLOSING, LAST_ACK
    bool ours_second = false;   // LAST_ACK
    bool acknowledged = false;  // FIN_WAIT2: the peer has acknowledged ours
};

FinPlan fin_plan(int state) {
    return {.ours_first = state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_CLOSING,
            .theirs = has_received_fin(state),
            .ours_second = state == TCP_LAST_ACK,
            .acknowledged = state == TCP_FIN_WAIT2};
}

// With unsent data before it, our FIN was not sent either: it follows the data, after repair.
Result<> restore_fins(const DormantConnection& connection, std::uint32_t inject_mark) {
    const FinPlan plan = fin_plan(connection.state);
    const bool fin_waits = !connection.unsent.empty();
    if (plan.ours_first && !fin_waits) TRY(shut_down_silently(connection.fd));
    TcpSegment segment = {.source = on_the_wire(connection.destination),
                          .destination = on_the_wire(connection.source),
                          .sequence = connection.receive_sequence,
                          .acknowledged = connection.send_sequence,
                          .fin = plan.theirs};
    if (plan.theirs) {
        TRY(inject_segment(segment, inject_mark));
        TRY(await_state(connection.fd,
                        plan.ours_first && !fin_waits ? TCP_CLOSING : TCP_CLOSE_WAIT));
    }
    if (plan.ours_second && !fin_waits) TRY(shut_down_silently(connection.fd));
    if (plan.acknowledged) {
        segment.acknowledged += 1;
        TRY(inject_segment(segment, inject_mark));
        TRY(await_state(connection.fd, TCP_FIN_WAIT2));
    }
    return {};
}

Result<> send_unsent(const DormantConnection& connection) {
    if (connection.unsent.empty()) return {};
    TRY(make_room(connection.fd, SO_SNDBUFFORCE, connection.unsent.size(),
                  connection.options.send_buffer));
    std::span<const std::byte> bytes = connection.unsent;
    while (!bytes.empty()) bytes = bytes.subspan(TRY(os::send(connection.fd, bytes, MSG_DONTWAIT)));
    if (has_sent_fin(connection.state)) TRY(os::shutdown(connection.fd, SHUT_WR));
    return {};
}

Result<> restore_late_options(const DormantConnection& connection) {
    const model::SocketOptions& options = connection.options;
    if (options.reuse_port) TRY(os::setsockopt(connection.fd, SOL_SOCKET, SO_REUSEPORT, 1));
    if (!options.bound_device.empty()) {
        TRY(os::setsockopt_bytes(connection.fd, SOL_SOCKET, SO_BINDTODEVICE,
                                 os::as_bytes(options.bound_device)));
    }
    return {};
}

// Filling the queues took larger buffers than the connection has.
Result<> restore_sizes(const DormantConnection& connection) {
    if (!connection.sizes_forced) return {};
    const int send_size = static_cast<int>(connection.options.send_buffer / 2);
    const int receive_size = static_cast<int>(connection.options.receive_buffer / 2);
    TRY(os::setsockopt(connection.fd, SOL_SOCKET, SO_SNDBUFFORCE, send_size));
    TRY(os::setsockopt(connection.fd, SOL_SOCKET, SO_RCVBUFFORCE, receive_size));
    return apply_buffer_locks(connection.fd, connection.options);
}

Result<> end_repair(int fd, int how, bool reuse_address) {
    TRY(os::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, how));
    if (reuse_address) TRY(os::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1));
    return {};
}

// connect(2) again, not waiting for the peer even where the descriptor blocks.
Result<> reconnect(const DormantConnection& connection) {
    const int fd = connection.fd;
    const auto flags = static_cast<unsigned>(TRY(os::fcntl(fd, F_GETFL)));
    TRY(os::fcntl(fd, F_SETFL, flags | O_NONBLOCK));
    const auto begun = os::connect(fd, to_address(connection.destination));
    TRY(os::fcntl(fd, F_SETFL, flags));
    return begun;
}

}  // namespace

bool has_sent_fin(int state) {
    return state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_CLOSING ||
           state == TCP_LAST_ACK;
}

bool has_received_fin(int state) {
    return state == TCP_CLOSE_WAIT || state == TCP_CLOSING || state == TCP_LAST_ACK;
}

bool has_peer(int state) {
    return state == TCP_SYN_SENT || state == TCP_ESTABLISHED || has_sent_fin(state) ||
           has_received_fin(state);
}

Result<> enter_repair(int fd) {
    return os::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, kRepairOn);
}

Result<> leave_repair(int fd, bool reuse_address) {
    return end_repair(fd, kRepairOff, reuse_address);
}

Result<> leave_repair_silently(int fd, bool reuse_address) {
    return end_repair(fd, kRepairOffSilently, reuse_address);
}

Result<tcp_info> tcp_info_of(int fd) {
    return os::getsockopt<tcp_info>(fd, IPPROTO_TCP, TCP_INFO);
}

Result<TcpConnection> read_tcp_connection(int fd, const tcp_info& info) {
    TcpConnection connection;
    const int state = info.tcpi_state;
    connection.sack = (info.tcpi_options & TCPI_OPT_SACK) != 0;
    connection.timestamps = (info.tcpi_options & TCPI_OPT_TIMESTAMPS) != 0;
    connection.ecn = (info.tcpi_options & TCPI_OPT_ECN) != 0;
    connection.window_scaling = (info.tcpi_options & TCPI_OPT_WSCALE) != 0;
    if (connection.window_scaling) {
        connection.send_window_scale = info.tcpi_snd_wscale;
        connection.receive_window_scale = info.tcpi_rcv_wscale;
    }
    // In repair mode this is the clamp, not the current segment size.
    connection.mss_clamp = TRY(os::getsockopt<std::uint32_t>(fd, IPPROTO_TCP, TCP_MAXSEG));
    if (connection.timestamps) {
        connection.timestamp = TRY(os::getsockopt<std::uint32_t>(fd, IPPROTO_TCP, TCP_TIMESTAMP));
    }
    connection.sent_lately = info.tcpi_last_data_sent <= kLatelyMs;
    TRY(read_window(fd, connection));
    TRY(read_send_queue(fd, state, connection));
    TRY(read_receive_queue(fd, state, connection));
    return connection;
}

Result<OpenedConnection> open_tcp_connection(const model::InetSocket& socket,
                                             const model::SocketOptions& fresh) {
    if (!has_peer(socket.state) || socket.tcp->unsent_bytes > socket.tcp->send_queue.size()) {
        return fail(
            Error::corrupt(fmt::format("state {}, {} of {} bytes unsent", socket.state,
                                       socket.tcp->unsent_bytes, socket.tcp->send_queue.size())));
    }
    OpenedConnection opened;
    opened.fd = TRY(os::socket(socket.family, SOCK_STREAM, IPPROTO_TCP));
    const int fd = opened.fd.get();
    opened.dormant = TRY(dormant_of(fd, socket));
    if (socket.family == AF_INET6 && socket.ipv6_only) {
        TRY(os::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1));
    }
    // Only a handshake agrees on it. The connection goes on as one of before RFC 3168.
    if (socket.tcp->ecn) log_info("TCP port {}: goes on without ECN", socket.source_port);
    TRY(enter_repair(fd));
    TRY(apply_buffer_sizes(fd, socket.options, fresh));
    TRY(bind_and_connect(fd, socket, opened.dormant));
    if (socket.state != TCP_SYN_SENT) {
        TRY(set_stream_options(fd, *socket.tcp));
        TRY(fill_queues(fd, socket));
        TRY(set_window(fd, *socket.tcp, socket.state));
    } else {
        TRY(select_queue(fd, kNoQueue));
    }
    const SocketKind kind = {socket.family, SOCK_STREAM, IPPROTO_TCP};
    TRY(apply_socket_options(fd, kind, socket.options, fresh));
    TRY(apply_buffer_locks(fd, socket.options));
    return opened;
}

Result<> settle_tcp_connection(const DormantConnection& connection, std::uint32_t inject_mark) {
    if (connection.state == TCP_SYN_SENT) return {};
    return restore_fins(connection, inject_mark);
}

Result<> wake_tcp_connection(const DormantConnection& connection) {
    if (!connection.transparent) {
        TRY(set_transparent(connection.fd, connection.source.family, false));
    }
    TRY(leave_repair(connection.fd, connection.options.reuse_address));
    TRY(restore_late_options(connection));
    if (connection.state == TCP_SYN_SENT) return reconnect(connection);
    TRY(send_unsent(connection));
    return restore_sizes(connection);
}

}  // namespace ferry::resources
