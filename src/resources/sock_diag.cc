#include "resources/sock_diag.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <vector>

#include "os/endpoint.h"
#include "os/socket.h"

namespace ferry::resources {
namespace {

// Netlink messages and attributes both begin at multiples of four (linux/netlink.h).
constexpr std::size_t aligned(std::size_t size) {
    return (size + 3) & ~std::size_t{3};
}

std::span<const std::byte> skip(std::span<const std::byte> bytes, std::size_t count) {
    return bytes.subspan(std::min(count, bytes.size()));
}

// One datagram; true when the conversation is over.
Result<bool> take_datagram(std::span<const std::byte> data, bool dump,
                           const std::function<void(std::span<const std::byte>)>& take) {
    nlmsghdr header = {};
    while (copy_front(data, header)) {
        if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > data.size()) {
            return fail(Error::corrupt("sock_diag: a message that is cut off"));
        }
        const auto payload = data.first(header.nlmsg_len).subspan(sizeof(header));
        if (header.nlmsg_type == NLMSG_DONE) return true;
        if (header.nlmsg_type == NLMSG_ERROR) {
            nlmsgerr problem = {};
            if (!copy_front(payload, problem))
                return fail(Error::corrupt("sock_diag: short error"));
            return fail(Error::system(-problem.error, "sock_diag"));
        }
        take(payload);
        if (!dump) return true;
        data = skip(data, aligned(header.nlmsg_len));
    }
    return false;
}

}  // namespace

void for_each_attribute(
    std::span<const std::byte> attributes,
    const std::function<bool(std::uint16_t type, std::span<const std::byte> payload)>& take) {
    rtattr header = {};
    while (copy_front(attributes, header)) {
        if (header.rta_len < sizeof(header) || header.rta_len > attributes.size()) return;
        const auto payload = attributes.first(header.rta_len).subspan(sizeof(header));
        if (!take(header.rta_type, payload)) return;
        attributes = skip(attributes, aligned(header.rta_len));
    }
}

Result<SockDiag> SockDiag::open() {
    return SockDiag(TRY(os::socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG)));
}

Result<> SockDiag::ask(std::span<const std::byte> request, bool dump,
                       const std::function<void(std::span<const std::byte>)>& take) {
    nlmsghdr header = {};
    header.nlmsg_len = static_cast<std::uint32_t>(sizeof(header) + request.size());
    header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | (dump ? NLM_F_DUMP : 0));
    const auto head = std::as_bytes(std::span(&header, 1));
    std::vector<std::byte> message(head.begin(), head.end());
    message.insert(message.end(), request.begin(), request.end());
    TRY(os::send(netlink_.get(), message, 0));
    alignas(nlmsghdr) std::array<std::byte, 32 * 1024> buffer;
    for (;;) {
        const std::size_t size = TRY(os::recv(netlink_.get(), buffer, 0));
        if (TRY(take_datagram(std::span(buffer).first(size), dump, take))) return {};
    }
}

}  // namespace ferry::resources
