#include "handover/netlink.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "os/net_socket.h"
#include "os/socket.h"

namespace ferry::handover {
namespace {

constexpr std::size_t aligned(std::size_t n) {
    return (n + 3) & ~std::size_t{3};
}

template <class T>
T read_struct(std::span<const std::byte> bytes) {
    T value{};
    CHECK(bytes.size() >= sizeof(T));
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
}

// The error that an NLMSG_ERROR message reports; its code 0 is an acknowledgement.
struct Verdict {
    int code = 0;
    std::uint32_t sequence = 0;
    std::string explanation;
};

Verdict read_verdict(std::span<const std::byte> payload, std::uint16_t flags) {
    Verdict verdict;
    if (payload.size() < sizeof(nlmsgerr)) return verdict;
    const auto error = read_struct<nlmsgerr>(payload);
    verdict.code = -error.error;
    verdict.sequence = error.msg.nlmsg_seq;
    if ((flags & NLM_F_ACK_TLVS) != 0) {
        // Without NLM_F_CAPPED the whole request is quoted before the attributes.
        const std::size_t quoted =
            (flags & NLM_F_CAPPED) != 0 ? 0 : error.msg.nlmsg_len - NLMSG_HDRLEN;
        const std::size_t skip = sizeof(nlmsgerr) + aligned(quoted);
        if (skip < payload.size()) {
            verdict.explanation = NetlinkAttributes(payload.subspan(skip)).text(NLMSGERR_ATTR_MSG);
        }
    }
    return verdict;
}

std::unexpected<Error> refusal(const Verdict& verdict, std::string_view what) {
    if (verdict.explanation.empty()) return fail(Error::system(verdict.code, std::string(what)));
    return fail(Error::system(verdict.code,
                              fmt::format("{}: kernel says '{}'", what, verdict.explanation)));
}

// Splits one received datagram into messages. visit returns false to stop.
template <class Visit>
Result<> for_each_message(std::span<const std::byte> datagram, Visit visit) {
    while (datagram.size() >= sizeof(nlmsghdr)) {
        const auto header = read_struct<nlmsghdr>(datagram);
        if (header.nlmsg_len < sizeof(nlmsghdr) || header.nlmsg_len > datagram.size()) {
            return fail(Error::corrupt("a netlink message with a wrong length"));
        }
        TRY(visit(header, datagram.subspan(sizeof(nlmsghdr), header.nlmsg_len - sizeof(nlmsghdr))));
        datagram = datagram.subspan(std::min(aligned(header.nlmsg_len), datagram.size()));
    }
    return {};
}

}  // namespace

void NetlinkMessages::begin_message(std::uint16_t type, std::uint16_t flags) {
    message_ = bytes_.size();
    ++count_;
    nlmsghdr header = {};
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<std::uint16_t>(flags | NLM_F_REQUEST);
    header.nlmsg_seq = static_cast<std::uint32_t>(count_);
    append(std::as_bytes(std::span(&header, 1)));
}

void NetlinkMessages::append(std::span<const std::byte> data) {
    bytes_.insert(bytes_.end(), data.begin(), data.end());
    bytes_.resize(aligned(bytes_.size()));
    seal();
}

void NetlinkMessages::seal() {
    const auto length = static_cast<std::uint32_t>(bytes_.size() - message_);
    std::memcpy(bytes_.data() + message_ + offsetof(nlmsghdr, nlmsg_len), &length, sizeof(length));
}

void NetlinkMessages::put(std::uint16_t attribute, std::span<const std::byte> value) {
    const nlattr header = {.nla_len = static_cast<std::uint16_t>(sizeof(nlattr) + value.size()),
                           .nla_type = attribute};
    append(std::as_bytes(std::span(&header, 1)));
    append(value);
}

void NetlinkMessages::put_string(std::uint16_t attribute, const std::string& value) {
    put(attribute, std::as_bytes(std::span(value.c_str(), value.size() + 1)));
}

void NetlinkMessages::put_big_endian(std::uint16_t attribute, std::uint32_t value) {
    put_number(attribute, static_cast<std::uint32_t>(htonl(value)));
}

std::size_t NetlinkMessages::open_nest(std::uint16_t attribute) {
    const std::size_t start = bytes_.size();
    put(static_cast<std::uint16_t>(attribute | NLA_F_NESTED), {});
    return start;
}

void NetlinkMessages::close_nest(std::size_t start) {
    const auto length = static_cast<std::uint16_t>(bytes_.size() - start);
    std::memcpy(bytes_.data() + start + offsetof(nlattr, nla_len), &length, sizeof(length));
}

void NetlinkAttributes::for_each(
    const std::function<void(std::uint16_t, std::span<const std::byte>)>& visit) const {
    auto rest = bytes_;
    while (rest.size() >= sizeof(nlattr)) {
        const auto header = read_struct<nlattr>(rest);
        if (header.nla_len < sizeof(nlattr) || header.nla_len > rest.size()) return;
        visit(static_cast<std::uint16_t>(header.nla_type & NLA_TYPE_MASK),
              rest.subspan(sizeof(nlattr), header.nla_len - sizeof(nlattr)));
        rest = rest.subspan(std::min(aligned(header.nla_len), rest.size()));
    }
}

std::span<const std::byte> NetlinkAttributes::find(std::uint16_t type) const {
    std::span<const std::byte> found;
    for_each([&](std::uint16_t t, std::span<const std::byte> value) {
        if (t == type) found = value;
    });
    return found;
}

bool NetlinkAttributes::has(std::uint16_t type) const {
    bool found = false;
    for_each([&](std::uint16_t t, std::span<const std::byte>) { found = found || t == type; });
    return found;
}

std::string NetlinkAttributes::text(std::uint16_t type) const {
    const auto value = find(type);
    std::string result(reinterpret_cast<const char*>(value.data()), value.size());
    if (const auto end = result.find('\0'); end != std::string::npos) result.resize(end);
    return result;
}

Result<NetlinkSocket> NetlinkSocket::open(int protocol) {
    auto fd = TRY(os::socket(AF_NETLINK, SOCK_RAW, protocol));
    sockaddr_nl address = {};
    address.nl_family = AF_NETLINK;
    TRY(os::bind_address(fd.get(), address));
    TRY(os::setsockopt(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, int{1}));
    TRY(os::setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, int{1}));
    return NetlinkSocket(std::move(fd));
}

Result<std::span<const std::byte>> NetlinkSocket::receive(std::string_view what) {
    iovec part = {.iov_base = buffer_.data(), .iov_len = buffer_.size()};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    // The kernel answers before sendto() returns, or while a dump is being read: it never keeps us
    // waiting, so an empty queue is a protocol error of ours and not a reason to block.
    const auto size = TRY(os::receive_message(fd_.get(), message, MSG_DONTWAIT | MSG_TRUNC));
    if (!size) return fail(Error::corrupt(fmt::format("{}: the kernel did not answer", what)));
    if (*size > buffer_.size()) {
        return fail(Error::limit(fmt::format("{}: a netlink answer of {} bytes", what, *size)));
    }
    return std::span<const std::byte>(buffer_).first(*size);
}

Result<> NetlinkSocket::request(const NetlinkMessages& messages, std::string_view what) {
    CHECK(!messages.empty());
    std::uint32_t last = 0;
    TRY(for_each_message(messages.bytes(), [&](const nlmsghdr& header, auto) -> Result<> {
        if ((header.nlmsg_flags & NLM_F_ACK) != 0) last = header.nlmsg_seq;
        return {};
    }));
    CHECK(last != 0);
    // A batch must fit the send buffer (netlink_sendmsg, EMSGSIZE): rules for a thousand
    // connections do not fit the default. The kernel doubles what it is given.
    constexpr std::size_t kSurelyFits = 64 * 1024;
    if (messages.bytes().size() > kSurelyFits) {
        const int size = static_cast<int>(messages.bytes().size());
        TRY(os::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUFFORCE, size));
        // Each message is answered before the first answer is read.
        TRY(os::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, 4 * size));
    }
    TRY(os::send_to(fd_.get(), messages.bytes()));
    Verdict first_failure;
    bool done = false;
    while (!done) {
        const auto datagram = TRY(receive(what));
        TRY(for_each_message(datagram, [&](const nlmsghdr& header, auto payload) -> Result<> {
            if (header.nlmsg_type != NLMSG_ERROR) return {};
            const auto verdict = read_verdict(payload, header.nlmsg_flags);
            if (verdict.code != 0 && first_failure.code == 0) first_failure = verdict;
            done = done || first_failure.code != 0 || verdict.sequence == last;
            return {};
        }));
    }
    if (first_failure.code == 0) return {};
    // A failed batch may have queued more verdicts; they must not be taken for those of the next
    // one.
    while (receive(what)) continue;
    failed_ = first_failure.sequence - 1;  // begin_message() counts from 1
    return refusal(first_failure, what);
}

Result<> NetlinkSocket::query(const NetlinkMessages& message, std::size_t header_bytes,
                              const std::function<Result<>(const NetlinkReply&)>& visit,
                              std::string_view what) {
    TRY(os::send_to(fd_.get(), message.bytes()));
    const auto request = read_struct<nlmsghdr>(message.bytes());
    bool done = false;
    while (!done) {
        const auto datagram = TRY(receive(what));
        TRY(for_each_message(datagram, [&](const nlmsghdr& header, auto payload) -> Result<> {
            if (header.nlmsg_type == NLMSG_DONE) {
                done = true;
                return {};
            }
            if (header.nlmsg_type == NLMSG_ERROR) {
                done = true;
                const auto verdict = read_verdict(payload, header.nlmsg_flags);
                if (verdict.code != 0) return refusal(verdict, what);
                return {};
            }
            if ((request.nlmsg_flags & (NLM_F_DUMP | NLM_F_ACK)) == 0) done = true;
            if (payload.size() < header_bytes) {
                return fail(Error::corrupt(fmt::format("{}: a short netlink answer", what)));
            }
            const auto attributes =
                payload.subspan(std::min(aligned(header_bytes), payload.size()));
            return visit(NetlinkReply{.type = header.nlmsg_type,
                                      .header = payload.first(header_bytes),
                                      .attributes = NetlinkAttributes(attributes)});
        }));
    }
    return {};
}

}  // namespace ferry::handover
