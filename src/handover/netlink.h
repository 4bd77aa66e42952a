// Netlink: messages as bytes, and a socket that sends them and waits for the verdict. One builder
// serves rtnetlink and nfnetlink; a built message needs no allocation to be sent, so a forked
// guardian can send it (I7). That is why neither libnl nor libnftnl is used here.
//
// Source relied upon: netlink(7), linux/netlink.h (extended acknowledgements, Linux 4.12).
#pragma once

#include <linux/netlink.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::handover {

// One or more messages under construction. Attributes go to the message begun last.
class NetlinkMessages {
  public:
    // Begins a message: nlmsghdr and the family's own header. NLM_F_REQUEST is added.
    template <class Header>
        requires std::is_trivially_copyable_v<Header>
    void begin(std::uint16_t type, std::uint16_t flags, const Header& header) {
        begin_message(type, flags);
        append(std::as_bytes(std::span(&header, 1)));
    }
    void put(std::uint16_t attribute, std::span<const std::byte> value);
    void put_bytes(std::uint16_t attribute, std::span<const std::uint8_t> value) {
        put(attribute, std::as_bytes(value));
    }
    // The terminating NUL is part of the value.
    void put_string(std::uint16_t attribute, const std::string& value);
    template <std::unsigned_integral T>
    void put_number(std::uint16_t attribute, T value) {
        put(attribute, std::as_bytes(std::span(&value, 1)));
    }
    // Network byte order, as all of nftables' numbers are.
    void put_big_endian(std::uint16_t attribute, std::uint32_t value);
    // Attributes put by `fill` become children of `attribute`.
    template <class Fill>
    void nest(std::uint16_t attribute, Fill fill) {
        const std::size_t start = open_nest(attribute);
        fill();
        close_nest(start);
    }

    // The same with a struct in front of the children, as VETH_INFO_PEER wants it.
    template <class Header, class Fill>
        requires std::is_trivially_copyable_v<Header>
    void nest_behind(std::uint16_t attribute, const Header& header, Fill fill) {
        nest(attribute, [&] {
            append(std::as_bytes(std::span(&header, 1)));
            fill();
        });
    }

    [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
    [[nodiscard]] std::size_t count() const { return count_; }
    [[nodiscard]] bool empty() const { return bytes_.empty(); }

  private:
    void begin_message(std::uint16_t type, std::uint16_t flags);
    void append(std::span<const std::byte> data);
    void seal();
    std::size_t open_nest(std::uint16_t attribute);
    void close_nest(std::size_t start);

    std::vector<std::byte> bytes_;
    std::size_t message_ = 0;  // offset of the message begun last
    std::size_t count_ = 0;
};

// The attributes of a received message, as a view into its buffer.
class NetlinkAttributes {
  public:
    explicit NetlinkAttributes(std::span<const std::byte> bytes) : bytes_(bytes) {}
    // Empty where the attribute is absent. The last one of a type wins, as in the kernel's own
    // parser.
    [[nodiscard]] std::span<const std::byte> find(std::uint16_t type) const;
    [[nodiscard]] bool has(std::uint16_t type) const;
    // `otherwise` where the attribute is absent or of another size.
    template <class T>
    [[nodiscard]] T number(std::uint16_t type, T otherwise = {}) const;
    // Without the terminating NUL.
    [[nodiscard]] std::string text(std::uint16_t type) const;
    [[nodiscard]] NetlinkAttributes nested(std::uint16_t type) const {
        return NetlinkAttributes(find(type));
    }
    void for_each(
        const std::function<void(std::uint16_t type, std::span<const std::byte>)>& visit) const;

  private:
    std::span<const std::byte> bytes_;
};

template <class T>
T NetlinkAttributes::number(std::uint16_t type, T otherwise) const {
    const auto value = find(type);
    if (value.size() != sizeof(T)) return otherwise;
    T result;
    std::copy(value.begin(), value.end(), std::as_writable_bytes(std::span(&result, 1)).begin());
    return result;
}

// A message of a dump: its type, its family header (at least `header_bytes` long) and attributes.
struct NetlinkReply {
    std::uint16_t type = 0;
    std::span<const std::byte> header;
    NetlinkAttributes attributes;

    template <class Header>
    [[nodiscard]] Header header_as() const {
        Header result{};
        std::copy(header.begin(), header.end(),
                  std::as_writable_bytes(std::span(&result, 1)).begin());
        return result;
    }
};

class NetlinkSocket {
  public:
    // protocol: NETLINK_ROUTE or NETLINK_NETFILTER; of the calling thread's network namespace.
    static Result<NetlinkSocket> open(int protocol);

    // Sends all messages in one datagram and waits for the acknowledgement of the last one that
    // asked for one (NLM_F_ACK; at least one must). The first error fails the call: System with its
    // errno, and with the kernel's explanation in the text. `what` names the request in the error.
    Result<> request(const NetlinkMessages& messages, std::string_view what);
    // Sends one request (with NLM_F_DUMP or without) and visits every reply.
    Result<> query(const NetlinkMessages& message, std::size_t header_bytes,
                   const std::function<Result<>(const NetlinkReply&)>& visit,
                   std::string_view what);

    // Which message the last failed request() was refused for, counted from 0.
    [[nodiscard]] std::size_t failed_message() const { return failed_; }

    [[nodiscard]] int fd() const { return fd_.get(); }
    // An owner's table vanishes when the last reference to this is gone.
    [[nodiscard]] os::UniqueFd release_fd() && { return std::move(fd_); }

  private:
    explicit NetlinkSocket(os::UniqueFd fd) : fd_(std::move(fd)), buffer_(kBufferBytes) {}
    Result<std::span<const std::byte>> receive(std::string_view what);

    // More than the kernel puts into one datagram of a dump (NLMSG_GOODSIZE, at most 32 KiB).
    static constexpr std::size_t kBufferBytes = 65536;
    os::UniqueFd fd_;
    std::vector<std::byte> buffer_;
    std::size_t failed_ = 0;
};

}  // namespace ferry::handover
