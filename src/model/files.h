// Open files, as values. One OpenFile is one open file description: descriptors that share it (dup,
// fork, SCM_RIGHTS) refer to the same id.
#pragma once

#include <netinet/in.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/types.h"
#include "model/memory.h"
#include "model/multicast.h"

namespace ferry::model {

using Bytes = std::vector<std::byte>;

// fcntl(F_GETOWN_EX), F_GETSIG and the credentials that setown recorded.
struct FileOwner {
    int signal = 0;
    int pid_type = 0;  // F_OWNER_TID=0, F_OWNER_PID=1, F_OWNER_PGRP=2
    pid_t pid = 0;     // 0: no owner
    std::uint32_t uid = 0, euid = 0;
    bool operator==(const FileOwner&) const = default;
};

// A regular file, directory or FIFO that has no name left: it exists only as long as somebody holds
// it open, so its content is carried (a directory has none, a FIFO's is in Checkpoint::pipes).
// Every open file description and mapping of it refers to its id.
struct GhostFile {
    struct Extent {
        std::uint64_t offset = 0;
        Bytes content;
        bool operator==(const Extent&) const = default;
    };
    std::uint32_t id = 0;                        // from 1
    std::uint32_t mode = 0;                      // st_mode
    std::uint32_t uid = 0, gid = 0;              // st_uid, st_gid
    std::uint64_t device = 0, inode = 0;         // at the source
    std::uint64_t access_us = 0, modify_us = 0;  // microseconds since 1970
    std::uint64_t size = 0;                      // bytes
    std::vector<Extent> extents;                 // ascending; what is between them reads as zeros
    bool operator==(const GhostFile&) const = default;
};

// A file, directory or device opened by path.
struct RegularFile {
    std::string path;                   // absolute, in the tree's mount namespace
    std::uint32_t mode = 0;             // st_mode
    std::optional<std::uint64_t> size;  // regular files: checked at restore
    std::int64_t position = 0;
    std::uint32_t ghost = 0;  // GhostFile::id; the path is what it was called. 0: it has its name
    // What a restoring host compares for files that it maps: ELF .note.gnu.build-id, if any.
    Bytes build_id;
    bool operator==(const RegularFile&) const = default;
};

// One end of a pipe or FIFO. Ends of the same pipe share pipe_id; the content is in
// Checkpoint::pipes.
struct PipeEnd {
    std::uint32_t pipe_id = 0;
    std::string path;         // FIFOs: absolute, as RegularFile::path; empty for pipe(2)
    std::uint32_t mode = 0;   // FIFOs: st_mode
    std::uint32_t ghost = 0;  // FIFOs: as RegularFile::ghost
    bool operator==(const PipeEnd&) const = default;
};

struct EventFd {
    std::uint64_t counter = 0;
    bool semaphore = false;  // EFD_SEMAPHORE, shown in fdinfo since Linux 6.5
    bool operator==(const EventFd&) const = default;
};

struct SignalFd {
    std::uint64_t mask = 0;  // the signals that it takes, bit 0 is signal 1
    bool operator==(const SignalFd&) const = default;
};

// A pidfd (pidfd_open(2)). It is of a thread where OpenFile::flags have O_EXCL (PIDFD_THREAD).
struct PidFile {
    pid_t task = 0;  // a process or a thread of the tree; 0: it has ended, and was waited for
    // Of those that have ended: which of them are of one task (the low bits of their inode number
    // at the source), and its wait status where the kernel tells it.
    std::uint32_t inode = 0;
    std::optional<int> exit_status;
    bool operator==(const PidFile&) const = default;
};

struct TimerFd {
    int clock = 0;                    // CLOCK_*
    std::uint64_t ticks = 0;          // expirations that were not read
    std::uint32_t settime_flags = 0;  // TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET
    std::uint64_t value_ns = 0;       // until the next expiration; 0: disarmed, or expired
    std::uint64_t interval_ns = 0;
    bool operator==(const TimerFd&) const = default;
};

// memfd_create(2). Descriptors and mappings of one memfd, however often it was opened, have one
// inode; the content is that of Checkpoint::shared_memory() with this id.
struct MemoryFile {
    std::uint64_t inode = 0;
    std::string name;         // as it was given
    std::uint64_t bytes = 0;  // its size
    std::uint32_t mode = 0;   // st_mode
    std::uint32_t uid = 0, gid = 0;
    std::uint32_t seals = 0;    // F_SEAL_*
    std::int64_t position = 0;  // of the open file
    std::string source;         // where this process can open it; only while it is collected
    bool operator==(const MemoryFile&) const = default;
};

// One watch of an inotify descriptor.
struct InotifyWatch {
    int number = 0;          // wd
    std::uint32_t mask = 0;  // IN_*
    std::string path;        // absolute; empty: only the handle is known
    std::uint64_t inode = 0;
    std::uint32_t device = 0;  // the kernel's own form (linux/kdev_t.h)
    int handle_type = 0;       // name_to_handle_at(2)
    Bytes handle;
    bool operator==(const InotifyWatch&) const = default;
};
struct Inotify {
    std::vector<InotifyWatch> watches;  // ascending by number
    bool operator==(const Inotify&) const = default;
};

struct EpollTarget {
    int fd = -1;  // in the process that added it
    std::uint32_t events = 0;
    std::uint64_t data = 0;
    std::uint64_t inode = 0;  // of the watched file, as fdinfo shows it (ino:, pos:, sdev:)
    std::uint64_t device = 0;
    std::uint64_t position = 0;
    bool operator==(const EpollTarget&) const = default;
};
struct EventPoll {
    std::vector<EpollTarget> targets;
    bool operator==(const EventPoll&) const = default;
};

// A socket option whose value is one int, as of setsockopt(2).
struct PlainOption {
    int level = 0, option = 0, value = 0;
    bool operator==(const PlainOption&) const = default;
};

struct SocketOptions {
    std::uint32_t send_buffer = 0, receive_buffer = 0;  // the kernel's doubled values
    bool buffers_locked_send = false, buffers_locked_receive = false;  // SO_BUF_LOCK
    std::int64_t send_timeout_us = 0, receive_timeout_us = 0;
    std::uint32_t priority = 0, mark = 0, receive_low_water = 1;
    bool reuse_address = false, reuse_port = false, keep_alive = false, broadcast = false,
         pass_credentials = false, pass_security = false, dont_route = false, no_check = false,
         oob_inline = false, timestamp = false;
    std::optional<std::pair<bool, std::uint32_t>> linger;
    std::string bound_device;
    // TCP only, seconds.
    std::optional<std::uint32_t> keep_idle, keep_interval, keep_count;
    bool no_delay = false, cork = false;
    std::optional<std::uint32_t> defer_accept, user_timeout_ms;
    std::string congestion_control;
    // Whose it is: only sockets of one user share a port by SO_REUSEPORT, and packet filters ask.
    uid_t user = 0;
    std::vector<PlainOption> plain;     // what differs from a fresh socket's
    std::vector<std::uint64_t> filter;  // SO_ATTACH_FILTER: struct sock_filter, one a word
    bool operator==(const SocketOptions&) const = default;
};

// Everything TCP_REPAIR gives of one connection (tcp(7), kernel net/ipv4/tcp.c).
struct TcpConnection {
    std::uint32_t send_sequence =
        0;  // TCP_QUEUE_SEQ of the send queue minus its length: first byte of it
    std::uint32_t receive_sequence = 0;  // likewise of the receive queue
    Bytes send_queue;                    // sent but unacknowledged, then unsent
    std::uint32_t unsent_bytes = 0;  // how much of send_queue's end was never sent (SIOCOUTQNSD)
    Bytes receive_queue;             // acknowledged but unread
    std::uint32_t mss_clamp = 0;
    std::uint8_t send_window_scale = 0, receive_window_scale = 0;
    bool window_scaling = false, sack = false, timestamps = false, ecn = false;
    std::uint32_t timestamp = 0;
    // Data was sent in the last 200 ms. Where it is not known: false.
    bool sent_lately = false;
    bool has_window = false;  // TCP_REPAIR_WINDOW (Linux 4.8)
    std::uint32_t send_wl1 = 0, send_window = 0, max_window = 0, receive_window = 0,
                  receive_wup = 0;
    bool operator==(const TcpConnection&) const = default;
};

// A UDP datagram that was received and not read.
struct Datagram {
    in6_addr source = {};  // as InetSocket::source
    std::uint16_t source_port = 0;
    Bytes content;
    bool operator==(const Datagram& o) const;
};

struct InetSocket {
    int family = AF_INET;    // AF_INET or AF_INET6
    int type = SOCK_STREAM;  // SOCK_STREAM, SOCK_DGRAM or SOCK_RAW
    int protocol = IPPROTO_TCP;
    int state = 7;  // TCP_* of netinet/tcp.h; TCP_CLOSE for unconnected
    std::uint32_t inode = 0;
    in6_addr source = {}, destination = {};               // IPv4 in the first four bytes
    std::uint16_t source_port = 0, destination_port = 0;  // host byte order
    std::uint32_t backlog = 0;
    bool ipv6_only = false, free_bind = false, transparent = false;
    // shutdown(2) done: 1 read, 2 write, 3 both.
    int shutdown = 0;
    bool error_unread = false;  // TCP_CLOSE: the connection ended with an error (SO_ERROR)
    SocketOptions options;
    std::optional<TcpConnection> tcp;  // present for every state that has a peer
    std::vector<Datagram> datagrams;   // UDP, in the order of their arrival
    std::vector<DeviceOption> device_options;
    std::vector<GroupMembership> groups;     // that it is a member of
    std::vector<std::uint32_t> icmp_filter;  // raw ICMPv6: ICMP6_FILTER; none: all are let through

    bool operator==(const InetSocket& o) const;
};

// Who called listen(2) last, as whoever connects sees it (SO_PEERCRED).
struct SocketOwner {
    pid_t pid = 0;                   // 0: nobody in our pid namespace
    std::uint32_t uid = 0, gid = 0;  // effective, then
    bool operator==(const SocketOwner&) const = default;
};

// A datagram, or what a stream socket was sent at once.
struct UnixMessage {
    Bytes content;
    std::vector<FileId> rights;  // open files in flight with it (SCM_RIGHTS)
    bool operator==(const UnixMessage&) const = default;
};

struct UnixSocket {
    std::uint32_t inode = 0;
    int type = SOCK_STREAM;
    int state = 7;                 // TCP_ESTABLISHED, TCP_LISTEN or TCP_CLOSE, as sock_diag reports
    std::string name;              // sun_path; abstract names begin with NUL; empty: unnamed
    std::string directory;         // absolute; what the name is relative to; empty: it is not
    std::string path;              // absolute; where its file was renamed to; empty: it was not
    std::uint32_t peer_inode = 0;  // 0: none
    std::string peer_name;         // of a peer outside the tree (--ext-unix-sk)
    std::uint32_t backlog = 0;
    std::optional<SocketOwner> listener;                      // TCP_LISTEN
    std::uint32_t file_mode = 0, file_uid = 0, file_gid = 0;  // of the bound path
    int shutdown = 0;
    SocketOptions options;
    std::vector<UnixMessage> receive_queue;  // received and unread
    bool operator==(const UnixSocket&) const = default;
};

// netlink(7).
struct NetlinkSocket {
    std::uint32_t inode = 0;
    int type = SOCK_RAW;     // SOCK_RAW or SOCK_DGRAM
    int protocol = 0;        // NETLINK_*
    std::uint32_t port = 0;  // 0: it has none yet
    std::uint32_t peer = 0;  // connect(2)'s port; 0: the kernel
    std::uint32_t peer_groups = 0;
    std::vector<std::uint32_t> groups;  // that it is a member of; bit n of word m is group 32*m+n+1
    SocketOptions options;
    bool operator==(const NetlinkSocket&) const = default;
};

// packet(7), without rings.
struct PacketSocket {
    // PACKET_ADD_MEMBERSHIP
    struct Membership {
        std::string device;
        std::uint32_t index = 0;  // of the device, at the source
        std::uint16_t type = 0;   // PACKET_MR_*
        Bytes address;
        bool operator==(const Membership&) const = default;
    };
    std::uint32_t inode = 0;
    int type = SOCK_RAW;         // SOCK_RAW or SOCK_DGRAM
    std::uint16_t protocol = 0;  // ETH_P_*, host byte order; 0: it receives nothing
    std::string device;          // bound to; empty: to all
    std::uint32_t index = 0;     // of it, at the source
    std::vector<Membership> memberships;
    SocketOptions options;
    bool operator==(const PacketSocket&) const = default;
};

// A standard stream that leads out of the container whose first process got it from its runtime: a
// pipe to a logger, a file of the host, a device of the host. Nothing of it is carried; another
// host's runtime gives its own.
struct GivenStream {
    int number = 0;  // as which the first process got it: 0, 1 or 2
    // Regular files: where this description stands, and the file's size then.
    std::optional<std::int64_t> position;
    std::uint64_t size = 0;
    bool operator==(const GivenStream&) const = default;
};

// A POSIX message queue (mq_overview(7)).
struct MessageQueueFile {
    std::uint64_t queue = 0;    // PosixQueue::inode
    std::string name;           // PosixQueue::name
    std::int64_t position = 0;  // for read(2), which gives a line about the queue
    bool operator==(const MessageQueueFile&) const = default;
};

// One end of a pseudo-terminal whose master the tree has (model/terminal.h).
struct TerminalFile {
    std::uint32_t index = 0;  // Terminal::index
    bool is_master = false;   // a master has one open file description
    std::string path;
    bool operator==(const TerminalFile&) const = default;
};

using FileBody = std::variant<RegularFile, PipeEnd, EventFd, EventPoll, SignalFd, TimerFd, Inotify,
                              InetSocket, UnixSocket, NetlinkSocket, PacketSocket, MemoryFile,
                              GivenStream, MessageQueueFile, TerminalFile, PidFile>;

struct OpenFile {
    FileId id = 0;
    std::uint32_t flags = 0;  // F_GETFL: access mode and status flags, with O_CLOEXEC masked out
    FileOwner owner;
    FileBody body;
    bool operator==(const OpenFile&) const = default;
};

enum class LockKind : std::uint8_t {
    Process,      // fcntl(F_SETLK): of a process, on a range
    Flock,        // flock(2): of an open file description, on the whole file
    Description,  // fcntl(F_OFD_SETLK): of an open file description, on a range
};

// An advisory lock of a file that is held.
struct FileLock {
    LockKind kind = LockKind::Process;
    bool exclusive = false;               // else shared: a read lock
    Pid pid;                              // the owner; of the others: one that has the description
    int fd = -1;                          // in that process
    std::uint64_t start = 0, length = 0;  // bytes; length 0: to the end, however far it grows
    bool operator==(const FileLock&) const = default;
};

struct Pipe {
    std::uint32_t id = 0;     // its inode number on the source
    std::uint32_t bytes = 0;  // F_GETPIPE_SZ
    Bytes content;
    bool operator==(const Pipe&) const = default;
};

// One slot of a descriptor table.
struct Descriptor {
    int fd = -1;
    FileId file = 0;
    bool close_on_exec = false;
    bool operator==(const Descriptor&) const = default;
};

}  // namespace ferry::model
