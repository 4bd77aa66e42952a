#include "resources/packet_socket.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_packet.h>
#include <linux/packet_diag.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "os/endpoint.h"
#include "os/socket.h"
#include "resources/network_device.h"
#include "resources/sock_diag.h"
#include "resources/socket_filter.h"
#include "resources/socket_options.h"

namespace ferry::resources {
namespace {

using model::PacketSocket;

SocketKind options_kind(int type) {
    return {.family = AF_PACKET, .type = type, .protocol = 0};
}

Result<std::string> name_of(int fd, std::uint32_t index, const Holder& holder) {
    auto name = device_name(fd, index);
    if (name || name.error().kind() != Error::Kind::Gone) return name;
    return refuse(holder, "a packet socket of a network device that is gone: close it");
}

// CRIU's images have only the number.
Result<int> index_of(int fd, const std::string& name, std::uint32_t number) {
    if (name.empty()) return static_cast<int>(number);
    return with_context(device_index(fd, name), "a packet socket of");
}

// What only sock_diag(7) shows.
struct Diagnosis {
    bool has_ring = false, has_fanout = false;
    std::vector<packet_diag_mclist> memberships;
};

void take_attribute(std::uint16_t type, std::span<const std::byte> payload, Diagnosis& into) {
    if (type == PACKET_DIAG_RX_RING || type == PACKET_DIAG_TX_RING) into.has_ring = true;
    if (type == PACKET_DIAG_FANOUT) into.has_fanout = true;
    if (type != PACKET_DIAG_MCLIST) return;
    packet_diag_mclist one = {};
    while (copy_front(payload, one)) {
        into.memberships.push_back(one);
        payload = payload.subspan(sizeof(one));
    }
}

Result<Diagnosis> diagnose(std::uint32_t inode) {
    SockDiag diag = TRY(SockDiag::open());
    packet_diag_req request = {};
    request.sdiag_family = AF_PACKET;
    request.pdiag_show =
        PACKET_SHOW_INFO | PACKET_SHOW_MCLIST | PACKET_SHOW_RING_CFG | PACKET_SHOW_FANOUT;
    std::optional<Diagnosis> found;
    TRY(diag.ask(std::as_bytes(std::span(&request, 1)), true,
                 [&](std::span<const std::byte> answer) {
                     packet_diag_msg message = {};
                     if (!copy_front(answer, message) || message.pdiag_ino != inode) return;
                     Diagnosis& one = found.emplace();
                     for_each_attribute(answer.subspan(sizeof(message)),
                                        [&](std::uint16_t type, std::span<const std::byte> bytes) {
                                            take_attribute(type, bytes, one);
                                            return true;
                                        });
                 }));
    if (found) return std::move(*found);
    return fail(Error::gone(fmt::format("packet socket {}", inode)));
}

Result<> add_membership(int fd, const PacketSocket::Membership& membership) {
    packet_mreq request = {};
    request.mr_ifindex = TRY(index_of(fd, membership.device, membership.index));
    request.mr_type = membership.type;
    if (membership.address.size() > sizeof(request.mr_address)) {
        return fail(Error::corrupt("the address of a packet socket's membership"));
    }
    request.mr_alen = static_cast<unsigned short>(membership.address.size());
    std::memcpy(request.mr_address, membership.address.data(), membership.address.size());
    return os::setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, request);
}

}  // namespace

Result<PacketSocket> read_packet_socket(int fd, const Holder& holder, const SocketKind& kind,
                                        PlainOptionReader& plain) {
    if (kind.type != SOCK_RAW && kind.type != SOCK_DGRAM) {
        return refuse(holder, "a packet socket of type SOCK_PACKET: close it");
    }
    PacketSocket socket;
    socket.inode = static_cast<std::uint32_t>(TRY(os::fstat(fd)).st_ino);
    const Diagnosis diagnosis = TRY(diagnose(socket.inode));
    if (diagnosis.has_ring) {
        return refuse(holder, "a packet socket with a ring, which is not carried: close it");
    }
    if (diagnosis.has_fanout) {
        return refuse(holder, "a packet socket in a fanout group, which is not carried: close it");
    }
    socket.type = kind.type;
    const os::SocketAddress address = TRY(os::getsockname(fd));
    socket.protocol = ntohs(os::address_as<sockaddr_ll>(address).sll_protocol);
    socket.index = static_cast<std::uint32_t>(os::address_as<sockaddr_ll>(address).sll_ifindex);
    if (socket.index != 0) socket.device = TRY(name_of(fd, socket.index, holder));
    for (const packet_diag_mclist& one : diagnosis.memberships) {
        const auto bytes = std::as_bytes(std::span(one.pdmc_addr))
                               .first(std::min<std::size_t>(one.pdmc_alen, sizeof(one.pdmc_addr)));
        PacketSocket::Membership membership = {.device = TRY(name_of(fd, one.pdmc_index, holder)),
                                               .index = one.pdmc_index,
                                               .type = one.pdmc_type,
                                               .address = {bytes.begin(), bytes.end()}};
        for (std::uint32_t i = 0; i < one.pdmc_count; ++i) socket.memberships.push_back(membership);
    }
    socket.options = TRY(read_socket_options(fd, options_kind(kind.type)));
    socket.options.filter = TRY(read_socket_filter(fd, holder));
    socket.options.plain = TRY(plain.read(fd, options_kind(kind.type), false, holder));
    return socket;
}

// Bound last: until then nothing is received that the filter would not let through.
Result<os::UniqueFd> open_packet_socket(const PacketSocket& socket) {
    os::UniqueFd opened = TRY(os::socket(AF_PACKET, socket.type, 0));
    const int fd = opened.get();
    TRY(apply_options_at_once(fd, options_kind(socket.type), socket.options));
    for (const PacketSocket::Membership& membership : socket.memberships) {
        TRY(add_membership(fd, membership));
    }
    if (socket.protocol == 0 && socket.index == 0) return opened;
    sockaddr_ll address = {};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(socket.protocol);
    address.sll_ifindex = TRY(index_of(fd, socket.device, socket.index));
    TRY(os::bind(fd, os::make_address(address)));
    return opened;
}

}  // namespace ferry::resources
