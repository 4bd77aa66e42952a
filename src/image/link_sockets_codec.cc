#include "image/link_sockets_codec.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

#include <algorithm>
#include <span>

#include "image/sockets_codec.h"

namespace ferry::image {
namespace {

constexpr int kGroupWordsMax = 64, kMembershipsMax = 1024;
constexpr std::size_t kAddressMax = 32, kDeviceNameMax = 16;
constexpr std::uint32_t kConnected = 1;

bool is_type(std::uint32_t type) {
    return type == SOCK_RAW || type == SOCK_DGRAM;
}

std::uint32_t packet_option(const model::PacketSocket& socket, int option) {
    const auto found = std::ranges::find_if(socket.options.plain, [&](const auto& plain) {
        return plain.level == SOL_PACKET && plain.option == option;
    });
    return found == socket.options.plain.end() ? 0 : static_cast<std::uint32_t>(found->value);
}

// What an image has without ferry.json.
void add_packet_options(const wire::PacketSk& from, model::SocketOptions& options) {
    const auto add = [&](int option, std::uint32_t value) {
        const bool known = std::ranges::any_of(options.plain, [&](const auto& plain) {
            return plain.level == SOL_PACKET && plain.option == option;
        });
        if (known || value == 0) return;
        options.plain.push_back(
            {.level = SOL_PACKET, .option = option, .value = static_cast<int>(value)});
    };
    add(PACKET_COPY_THRESH, from.copy_thresh());
    add(PACKET_AUXDATA, from.aux_data() ? 1 : 0);
    add(PACKET_ORIGDEV, from.orig_dev() ? 1 : 0);
    add(PACKET_VERSION, from.version());
    add(PACKET_RESERVE, from.reserve());
    add(PACKET_LOSS, from.loss() ? 1 : 0);
    add(PACKET_VNET_HDR, from.vnet_hdr() ? 1 : 0);
    add(PACKET_TIMESTAMP, from.timestamp());
}

}  // namespace

void netlink_to_wire(const model::NetlinkSocket& socket, wire::NetlinkSk& into,
                     wire::FerrySocket& extra) {
    into.set_ino(socket.inode);
    into.set_protocol(static_cast<std::uint32_t>(socket.protocol));
    into.set_state(socket.peer != 0 || socket.peer_groups != 0 ? kConnected : 0);
    into.set_portid(socket.port);
    into.mutable_groups()->Assign(socket.groups.begin(), socket.groups.end());
    into.set_dst_portid(socket.peer);
    into.set_dst_group(socket.peer_groups);
    options_to_wire(socket.options, false, *into.mutable_opts());
    options_to_extra(socket.options, extra);
    extra.set_type(static_cast<std::uint32_t>(socket.type));
}

Result<model::NetlinkSocket> netlink_from_wire(const wire::NetlinkSk& from,
                                               const wire::FerrySocket& extra) {
    const std::uint32_t type = extra.type() == 0 ? std::uint32_t{SOCK_RAW} : extra.type();
    if (from.protocol() > UINT8_MAX || from.groups_size() > kGroupWordsMax || !is_type(type)) {
        return fail(Error::corrupt("a netlink socket"));
    }
    return model::NetlinkSocket{.inode = from.ino(),
                                .type = static_cast<int>(type),
                                .protocol = static_cast<int>(from.protocol()),
                                .port = from.portid(),
                                .peer = from.dst_portid(),
                                .peer_groups = from.dst_group(),
                                .groups = {from.groups().begin(), from.groups().end()},
                                .options = TRY(options_from_wire(from.opts(), extra))};
}

void packet_to_wire(const model::PacketSocket& socket, wire::PacketSk& into,
                    wire::FerrySocket& extra) {
    into.set_type(static_cast<std::uint32_t>(socket.type));
    into.set_protocol(htons(socket.protocol));  // as CRIU gives it to socket(2)
    into.set_ifindex(socket.index);
    options_to_wire(socket.options, false, *into.mutable_opts());
    into.set_version(packet_option(socket, PACKET_VERSION));
    into.set_reserve(packet_option(socket, PACKET_RESERVE));
    into.set_aux_data(packet_option(socket, PACKET_AUXDATA) != 0);
    into.set_orig_dev(packet_option(socket, PACKET_ORIGDEV) != 0);
    into.set_vnet_hdr(packet_option(socket, PACKET_VNET_HDR) != 0);
    into.set_loss(packet_option(socket, PACKET_LOSS) != 0);
    into.set_timestamp(packet_option(socket, PACKET_TIMESTAMP));
    into.set_copy_thresh(packet_option(socket, PACKET_COPY_THRESH));
    options_to_extra(socket.options, extra);
    extra.set_inode(socket.inode);
    extra.add_devices(socket.device);
    for (const model::PacketSocket::Membership& membership : socket.memberships) {
        wire::PacketMembership& record = *into.add_mclist();
        record.set_index(membership.index);
        record.set_type(membership.type);
        record.set_addr(membership.address.data(), membership.address.size());
        extra.add_devices(membership.device);
    }
}

Result<model::PacketSocket> packet_from_wire(const wire::PacketSk& from,
                                             const wire::FerrySocket& extra) {
    if (from.has_rx_ring() || from.has_tx_ring() || from.fanout() != 0) {
        return fail(Error::unsupported("a packet socket with a ring or in a fanout group"));
    }
    const auto is_name = [](const std::string& name) { return name.size() < kDeviceNameMax; };
    if (!is_type(from.type()) || from.protocol() > UINT16_MAX ||
        from.mclist_size() > kMembershipsMax || !std::ranges::all_of(extra.devices(), is_name)) {
        return fail(Error::corrupt("a packet socket"));
    }
    const auto device = [&](int at) {
        return at < extra.devices_size() ? extra.devices(at) : std::string();
    };
    model::PacketSocket socket = {.inode = extra.inode(),
                                  .type = static_cast<int>(from.type()),
                                  .protocol = ntohs(static_cast<std::uint16_t>(from.protocol())),
                                  .device = device(0),
                                  .index = from.ifindex(),
                                  .memberships = {},
                                  .options = TRY(options_from_wire(from.opts(), extra))};
    for (int i = 0; i < from.mclist_size(); ++i) {
        const wire::PacketMembership& record = from.mclist(i);
        if (record.type() > UINT16_MAX || record.addr().size() > kAddressMax) {
            return fail(Error::corrupt("a packet socket's membership"));
        }
        const auto address = std::as_bytes(std::span(record.addr()));
        socket.memberships.push_back({.device = device(i + 1),
                                      .index = record.index(),
                                      .type = static_cast<std::uint16_t>(record.type()),
                                      .address = {address.begin(), address.end()}});
    }
    add_packet_options(from, socket.options);
    return socket;
}

}  // namespace ferry::image
