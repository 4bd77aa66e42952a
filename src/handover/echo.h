// Test support: echo services and closed-loop clients in a namespace of the lab.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "handover/network_lab.h"

namespace ferry::handover::lab {

inline sockaddr_in6 socket_address(const IpAddress& address, std::uint16_t port) {
    // IPv4 goes through an IPv6 socket too, as a mapped address: one code path for both.
    sockaddr_in6 result = {};
    result.sin6_family = AF_INET6;
    result.sin6_port = htons(port);
    if (address.family == AF_INET6) {
        std::memcpy(&result.sin6_addr, address.octets.data(), 16);
    } else {
        result.sin6_addr.s6_addr[10] = result.sin6_addr.s6_addr[11] = 0xff;
        std::memcpy(result.sin6_addr.s6_addr + 12, address.octets.data(), 4);
    }
    return result;
}

inline constexpr std::uint16_t kPort = 7777;

// Answers each TCP byte and each UDP datagram with its name (one letter), on all addresses.
class EchoService {
  public:
    EchoService(const Host& host, char name) : name_(name) {
        const auto inside = host.enter();
        for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
            const int fd = ::socket(AF_INET6, type | SOCK_CLOEXEC, 0);
            const int on = 1;
            ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
            ::setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
            sockaddr_in6 any = {};
            any.sin6_family = AF_INET6;
            any.sin6_port = htons(kPort);
            EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
            if (type == SOCK_STREAM) {
                EXPECT_EQ(::listen(fd, 16), 0);
            }
            fds_.push_back({fd, POLLIN, 0});
        }
        thread_ = std::thread([this] { serve(); });
    }
    ~EchoService() {
        stop_ = true;
        thread_.join();
        for (const auto& entry : fds_) ::close(entry.fd);
    }
    EchoService(const EchoService&) = delete;
    EchoService& operator=(const EchoService&) = delete;

    // Stands still between the two, as a frozen process does.
    void pause() { running_.lock(); }
    void resume() { running_.unlock(); }

  private:
    void serve() {
        while (!stop_) {
            if (::poll(fds_.data(), fds_.size(), 20) <= 0) continue;
            const std::lock_guard going_on(running_);
            const std::size_t count = fds_.size();
            for (std::size_t i = 0; i < count; ++i) {
                if (fds_[i].revents != 0) serve_one(i);
            }
            std::erase_if(fds_, [](const pollfd& entry) { return entry.fd < 0; });
        }
    }
    void serve_one(std::size_t i) {
        char buffer[4096];
        if (i == 0) {
            fds_.push_back({::accept4(fds_[0].fd, nullptr, nullptr, SOCK_CLOEXEC), POLLIN, 0});
        } else if (i == 1) {
            answer_datagram(buffer, sizeof buffer);
        } else if (const ssize_t n = ::read(fds_[i].fd, buffer, sizeof buffer); n > 0) {
            std::memset(buffer, name_, static_cast<std::size_t>(n));
            EXPECT_EQ(::write(fds_[i].fd, buffer, static_cast<std::size_t>(n)), n);
        } else {
            ::close(fds_[i].fd);
            fds_[i].fd = -1;
        }
    }
    // From the address that was asked: the received IPV6_PKTINFO is sent back as it is.
    void answer_datagram(char* buffer, std::size_t size) const {
        sockaddr_in6 from = {};
        alignas(cmsghdr) char control[256];
        iovec part = {buffer, size};
        msghdr message = {};
        message.msg_name = &from;
        message.msg_namelen = sizeof from;
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        if (::recvmsg(fds_[1].fd, &message, 0) < 0) return;
        *buffer = name_;
        part.iov_len = 1;
        ::sendmsg(fds_[1].fd, &message, 0);
    }
    char name_;
    std::vector<pollfd> fds_;
    std::mutex running_;
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

inline int connect_to(const Host& host, const IpAddress& to, int type) {
    const auto inside = host.enter();
    const int fd = ::socket(AF_INET6, type | SOCK_CLOEXEC, 0);
    const auto address = socket_address(to, kPort);
    const timeval patience = {.tv_sec = 5, .tv_usec = 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        ::close(fd);
        return -1;
    }
    return fd;
}

// Sends one byte and returns the answer; '-' where none came. While another thread is in system(3)
// the end of its child may interrupt us (SIGCHLD is blocked there), and a socket with a timeout is
// not waited for again by the kernel (socket(7), signal(7)).
inline char ask(int fd) {
    char c = '?';
    if (::send(fd, &c, 1, MSG_NOSIGNAL) != 1) return '-';
    if (TEMP_FAILURE_RETRY(::recv(fd, &c, 1, 0)) != 1) return '-';
    return c;
}

// TCP segments of a connection that nobody knows, numbered from 0, sent to a service's IPv4 address
// as fast as they go: with no stack behind them that would send one again.
class SegmentStream {
  public:
    SegmentStream(const Host& host, const IpAddress& to) {
        const auto inside = host.enter();
        fd_ = ::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP);
        EXPECT_GE(fd_, 0);
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        std::memcpy(&address.sin_addr, to.octets.data(), sizeof address.sin_addr);
        EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        thread_ = std::thread([this] { send(); });
    }
    ~SegmentStream() { finish(); }
    SegmentStream(const SegmentStream&) = delete;
    SegmentStream& operator=(const SegmentStream&) = delete;

    // Returns how many were sent.
    std::uint32_t finish() {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
        if (fd_ >= 0) ::close(std::exchange(fd_, -1));
        return sent_;
    }

  private:
    void send() {
        while (!stop_) {
            tcphdr header = {};
            header.th_dport = htons(kPort + 1);
            header.th_off = sizeof header / 4;
            header.th_flags = TH_ACK;
            header.th_seq = sent_;
            if (::send(fd_, &header, sizeof header, 0) == sizeof header) ++sent_;
            // The rate of a busy service, not that of a flood.
            for (const double until = now_ms() + 0.01; now_ms() < until;) {
            }
        }
    }
    int fd_ = -1;
    std::uint32_t sent_ = 0;
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

// Counts the numbered segments that the stack of a host takes for an address, by whatever way.
class SegmentSink {
  public:
    SegmentSink(const Host& host, const IpAddress& at) {
        const auto inside = host.enter();
        fd_ = ::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
        EXPECT_GE(fd_, 0);
        const int size = 64 << 20;
        EXPECT_EQ(::setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size), 0);
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        std::memcpy(&address.sin_addr, at.octets.data(), sizeof address.sin_addr);
        EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    ~SegmentSink() { ::close(fd_); }
    SegmentSink(const SegmentSink&) = delete;
    SegmentSink& operator=(const SegmentSink&) = delete;

    // Takes what has come; how many segments that was.
    std::size_t drain() {
        std::size_t count = 0;
        for (std::array<char, 256> packet;; ++count) {
            const ssize_t size = ::recv(fd_, packet.data(), packet.size(), 0);
            if (size < 0) return count;
            EXPECT_EQ(size, 40);
            tcphdr header;
            std::memcpy(&header, packet.data() + 20, sizeof header);
            if (header.th_seq >= times_.size()) times_.resize(header.th_seq + 1);
            ++times_[header.th_seq];
        }
    }
    // How often the segment of each number came.
    [[nodiscard]] const std::vector<std::uint8_t>& times() const { return times_; }

  private:
    int fd_ = -1;
    std::vector<std::uint8_t> times_;
};

// Asks over one connection until it is stopped, and remembers the longest wait.
class ClosedLoopClient {
  public:
    ClosedLoopClient(const Host& host, const IpAddress& to)
        : fd_(connect_to(host, to, SOCK_STREAM)), thread_([this] { loop(); }) {}
    ~ClosedLoopClient() { finish(); }
    ClosedLoopClient(const ClosedLoopClient&) = delete;
    ClosedLoopClient& operator=(const ClosedLoopClient&) = delete;

    void finish() {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
        if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    }
    [[nodiscard]] bool broken() const { return broken_; }
    [[nodiscard]] long answers() const { return answers_; }
    [[nodiscard]] double longest_wait_ms() const { return longest_; }

  private:
    void loop() {
        while (!stop_ && !broken_) {
            const double before = now_ms();
            broken_ = ask(fd_) == '-';
            longest_ = std::max(longest_.load(), now_ms() - before);
            ++answers_;
        }
    }
    int fd_;
    std::atomic<bool> stop_ = false, broken_ = false;
    std::atomic<long> answers_ = 0;
    std::atomic<double> longest_ = 0;
    std::thread thread_;
};

}  // namespace ferry::handover::lab
