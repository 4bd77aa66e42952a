#include "resources/socket_options.h"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "os/socket.h"
#include "resources/plain_options.h"
#include "resources/socket_filter.h"

namespace ferry::resources {
namespace {

using model::SocketOptions;

// Linux 5.14, asm-generic/socket.h and linux/socket.h; glibc 2.36 does not name them.
constexpr int kBufferLock = 72;
constexpr int kSendBufferLock = 1;
constexpr int kReceiveBufferLock = 2;

struct FlagOption {
    int option;
    bool SocketOptions::* member;
};
constexpr std::array kFlagOptions = {
    FlagOption{SO_KEEPALIVE, &SocketOptions::keep_alive},
    FlagOption{SO_BROADCAST, &SocketOptions::broadcast},
    FlagOption{SO_DONTROUTE, &SocketOptions::dont_route},
    FlagOption{SO_NO_CHECK, &SocketOptions::no_check},
    FlagOption{SO_OOBINLINE, &SocketOptions::oob_inline},
    FlagOption{SO_TIMESTAMP, &SocketOptions::timestamp},
};
// Only sockets of AF_UNIX (and netlink) know them.
constexpr std::array kUnixFlagOptions = {
    FlagOption{SO_PASSCRED, &SocketOptions::pass_credentials},
    FlagOption{SO_PASSSEC, &SocketOptions::pass_security},
};
// Set by their owners in bind order, read with the others.
constexpr std::array kBindFlagOptions = {
    FlagOption{SO_REUSEADDR, &SocketOptions::reuse_address},
    FlagOption{SO_REUSEPORT, &SocketOptions::reuse_port},
};

struct NumberOption {
    int option;
    std::uint32_t SocketOptions::* member;
};
constexpr std::array kNumberOptions = {
    NumberOption{SO_PRIORITY, &SocketOptions::priority},
    NumberOption{SO_MARK, &SocketOptions::mark},
    NumberOption{SO_RCVLOWAT, &SocketOptions::receive_low_water},
};

struct OptionalOption {
    int option;
    std::optional<std::uint32_t> SocketOptions::* member;
};
constexpr std::array kTcpNumberOptions = {
    OptionalOption{TCP_KEEPIDLE, &SocketOptions::keep_idle},
    OptionalOption{TCP_KEEPINTVL, &SocketOptions::keep_interval},
    OptionalOption{TCP_KEEPCNT, &SocketOptions::keep_count},
    OptionalOption{TCP_DEFER_ACCEPT, &SocketOptions::defer_accept},
    OptionalOption{TCP_USER_TIMEOUT, &SocketOptions::user_timeout_ms},
};
constexpr std::array kTcpFlagOptions = {
    FlagOption{TCP_NODELAY, &SocketOptions::no_delay},
    FlagOption{TCP_CORK, &SocketOptions::cork},
};

constexpr std::int64_t kMicrosecondsPerSecond = 1'000'000;

Result<std::int64_t> read_timeout(int fd, int option) {
    const timeval value = TRY(os::getsockopt<timeval>(fd, SOL_SOCKET, option));
    return value.tv_sec * kMicrosecondsPerSecond + value.tv_usec;
}

Result<> set_timeout(int fd, int option, std::int64_t microseconds) {
    const timeval value = {.tv_sec = microseconds / kMicrosecondsPerSecond,
                           .tv_usec = microseconds % kMicrosecondsPerSecond};
    return os::setsockopt(fd, SOL_SOCKET, option, value);
}

template <class Table>
Result<> read_flags(int fd, int level, const Table& table, SocketOptions& into) {
    for (const FlagOption& flag : table) {
        into.*flag.member = TRY(os::getsockopt<int>(fd, level, flag.option)) != 0;
    }
    return {};
}

template <class Table>
Result<> apply_flags(int fd, int level, const Table& table, const SocketOptions& wanted,
                     const SocketOptions& current) {
    for (const FlagOption& flag : table) {
        if (wanted.*flag.member == current.*flag.member) continue;
        const int value = wanted.*flag.member ? 1 : 0;
        TRY(os::setsockopt(fd, level, flag.option, value));
    }
    return {};
}

Result<std::string> read_text(int fd, int level, int option) {
    std::array<char, 64> text = {};
    const std::size_t size =
        TRY(os::getsockopt_bytes(fd, level, option, std::as_writable_bytes(std::span(text))));
    return std::string(text.data(), ::strnlen(text.data(), size));
}

Result<> read_tcp_options(int fd, SocketOptions& options) {
    for (const OptionalOption& number : kTcpNumberOptions) {
        options.*number.member =
            static_cast<std::uint32_t>(TRY(os::getsockopt<int>(fd, IPPROTO_TCP, number.option)));
    }
    TRY(read_flags(fd, IPPROTO_TCP, kTcpFlagOptions, options));
    options.congestion_control = TRY(read_text(fd, IPPROTO_TCP, TCP_CONGESTION));
    return {};
}

Result<> apply_tcp_options(int fd, const SocketOptions& wanted, const SocketOptions& current) {
    for (const OptionalOption& number : kTcpNumberOptions) {
        const auto& value = wanted.*number.member;
        if (!value || value == current.*number.member) continue;
        const int plain = static_cast<int>(*value);
        TRY(os::setsockopt(fd, IPPROTO_TCP, number.option, plain));
    }
    TRY(apply_flags(fd, IPPROTO_TCP, kTcpFlagOptions, wanted, current));
    if (!wanted.congestion_control.empty() &&
        wanted.congestion_control != current.congestion_control) {
        TRY(os::setsockopt_bytes(fd, IPPROTO_TCP, TCP_CONGESTION,
                                 os::as_bytes(wanted.congestion_control)));
    }
    return {};
}

// An autotuned size that a fresh socket already exceeds is left alone.
bool needs_size(std::uint32_t wanted, std::uint32_t current, bool locked) {
    return wanted > current || (locked && wanted != current);
}

}  // namespace

Result<SocketOptions> read_socket_options(int fd, const SocketKind& kind) {
    SocketOptions options;
    options.user = TRY(os::fstat(fd)).st_uid;
    options.send_buffer =
        static_cast<std::uint32_t>(TRY(os::getsockopt<int>(fd, SOL_SOCKET, SO_SNDBUF)));
    options.receive_buffer =
        static_cast<std::uint32_t>(TRY(os::getsockopt<int>(fd, SOL_SOCKET, SO_RCVBUF)));
    const int locks = TRY(os::getsockopt<int>(fd, SOL_SOCKET, kBufferLock));
    options.buffers_locked_send = (locks & kSendBufferLock) != 0;
    options.buffers_locked_receive = (locks & kReceiveBufferLock) != 0;
    options.send_timeout_us = TRY(read_timeout(fd, SO_SNDTIMEO));
    options.receive_timeout_us = TRY(read_timeout(fd, SO_RCVTIMEO));
    for (const NumberOption& number : kNumberOptions) {
        options.*number.member =
            static_cast<std::uint32_t>(TRY(os::getsockopt<int>(fd, SOL_SOCKET, number.option)));
    }
    TRY(read_flags(fd, SOL_SOCKET, kFlagOptions, options));
    const linger lingering = TRY(os::getsockopt<linger>(fd, SOL_SOCKET, SO_LINGER));
    if (lingering.l_onoff != 0 || lingering.l_linger != 0) {
        options.linger = {lingering.l_onoff != 0, static_cast<std::uint32_t>(lingering.l_linger)};
    }
    if (kind.family == AF_UNIX) {
        TRY(read_flags(fd, SOL_SOCKET, kUnixFlagOptions, options));
        return options;
    }
    TRY(read_flags(fd, SOL_SOCKET, kBindFlagOptions, options));
    options.bound_device = TRY(read_text(fd, SOL_SOCKET, SO_BINDTODEVICE));
    if (kind.protocol == IPPROTO_TCP) TRY(read_tcp_options(fd, options));
    return options;
}

Result<> apply_buffer_sizes(int fd, const SocketOptions& wanted, const SocketOptions& current) {
    // The kernel doubles what it is given (socket(7)).
    if (needs_size(wanted.send_buffer, current.send_buffer, wanted.buffers_locked_send)) {
        const int size = static_cast<int>(wanted.send_buffer / 2);
        TRY(os::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, size));
    }
    if (needs_size(wanted.receive_buffer, current.receive_buffer, wanted.buffers_locked_receive)) {
        const int size = static_cast<int>(wanted.receive_buffer / 2);
        TRY(os::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, size));
    }
    return {};
}

Result<> apply_buffer_locks(int fd, const SocketOptions& wanted) {
    const int locks = (wanted.buffers_locked_send ? kSendBufferLock : 0) |
                      (wanted.buffers_locked_receive ? kReceiveBufferLock : 0);
    return os::setsockopt(fd, SOL_SOCKET, kBufferLock, locks);
}

Result<> apply_socket_options(int fd, const SocketKind& kind, const SocketOptions& wanted,
                              const SocketOptions& current) {
    if (wanted.send_timeout_us != current.send_timeout_us) {
        TRY(set_timeout(fd, SO_SNDTIMEO, wanted.send_timeout_us));
    }
    if (wanted.receive_timeout_us != current.receive_timeout_us) {
        TRY(set_timeout(fd, SO_RCVTIMEO, wanted.receive_timeout_us));
    }
    for (const NumberOption& number : kNumberOptions) {
        if (wanted.*number.member == current.*number.member) continue;
        const int value = static_cast<int>(wanted.*number.member);
        TRY(os::setsockopt(fd, SOL_SOCKET, number.option, value));
    }
    TRY(apply_flags(fd, SOL_SOCKET, kFlagOptions, wanted, current));
    if (wanted.linger != current.linger) {
        const linger value = {
            .l_onoff = wanted.linger && wanted.linger->first ? 1 : 0,
            .l_linger = static_cast<int>(wanted.linger ? wanted.linger->second : 0)};
        TRY(os::setsockopt(fd, SOL_SOCKET, SO_LINGER, value));
    }
    if (kind.family == AF_UNIX) TRY(apply_flags(fd, SOL_SOCKET, kUnixFlagOptions, wanted, current));
    if (kind.protocol == IPPROTO_TCP && kind.family != AF_UNIX) {
        TRY(apply_tcp_options(fd, wanted, current));
    }
    constexpr gid_t kSame = static_cast<gid_t>(-1);
    if (wanted.user != current.user) TRY(os::fchown(fd, wanted.user, kSame));
    TRY(attach_socket_filter(fd, wanted.filter));
    return apply_plain_options(fd, kind, wanted.plain);
}

Result<> apply_options_at_once(int fd, const SocketKind& kind, const SocketOptions& wanted) {
    const SocketOptions current = TRY(read_socket_options(fd, kind));
    TRY(apply_buffer_sizes(fd, wanted, current));
    TRY(apply_socket_options(fd, kind, wanted, current));
    return apply_buffer_locks(fd, wanted);
}

Result<const SocketOptions*> FreshOptions::of(const SocketKind& kind) {
    const auto known = known_.find(kind);
    if (known != known_.end()) return &known->second;
    const os::UniqueFd sample = TRY(os::socket(kind.family, kind.type, kind.protocol));
    return &known_.emplace(kind, TRY(read_socket_options(sample.get(), kind))).first->second;
}

}  // namespace ferry::resources
