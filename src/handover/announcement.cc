#include "handover/announcement.h"

#include <linux/if_packet.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip6.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "handover/ethernet_frame.h"
#include "handover/ip_packet.h"
#include "os/net_socket.h"
#include "os/socket.h"

namespace ferry::handover {
namespace {

constexpr MacAddress kAllNodesMac = {0x33, 0x33, 0, 0, 0, 1};
constexpr std::array<std::uint8_t, 16> kAllNodes = {0xff, 0x02, 0, 0, 0, 0, 0, 0,
                                                    0,    0,    0, 0, 0, 0, 0, 1};

Frame arp_frame(const MacAddress& mac, const IpAddress& address, std::uint16_t operation) {
    ether_arp arp = {};
    arp.arp_hrd = htons(ARPHRD_ETHER);
    arp.arp_pro = htons(ETHERTYPE_IP);
    arp.arp_hln = ETH_ALEN;
    arp.arp_pln = 4;
    arp.arp_op = htons(operation);
    std::ranges::copy(mac, arp.arp_sha);
    std::ranges::copy(address.bytes(), arp.arp_spa);
    std::ranges::copy(address.bytes(), arp.arp_tpa);
    if (operation == ARPOP_REPLY) std::ranges::copy(kBroadcastMac, arp.arp_tha);
    Frame frame;
    append(frame, ethernet(kBroadcastMac, mac, ETHERTYPE_ARP));
    append(frame, arp);
    return frame;
}

Frame advertisement_frame(const MacAddress& mac, const IpAddress& address) {
    struct TargetLinkAddress {
        std::uint8_t type = ND_OPT_TARGET_LINKADDR;
        std::uint8_t length = 1;  // in units of eight octets
        MacAddress mac;
    };
    nd_neighbor_advert advert = {};
    advert.nd_na_type = ND_NEIGHBOR_ADVERT;
    advert.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
    std::ranges::copy(address.bytes(), advert.nd_na_target.s6_addr);
    ip6_hdr ip = {};
    ip.ip6_flow = htonl(6U << 28);
    ip.ip6_plen = htons(sizeof(advert) + sizeof(TargetLinkAddress));
    ip.ip6_nxt = IPPROTO_ICMPV6;
    ip.ip6_hlim = kNeighbourHopLimit;
    std::ranges::copy(address.bytes(), ip.ip6_src.s6_addr);
    std::ranges::copy(kAllNodes, ip.ip6_dst.s6_addr);
    Frame frame;
    append(frame, ethernet(kAllNodesMac, mac, ETHERTYPE_IPV6));
    append(frame, ip);
    append(frame, advert);
    append(frame, TargetLinkAddress{.mac = mac});
    complete_checksum(std::span(frame).subspan(sizeof(ether_header)));
    return frame;
}

// The source of a report is link-local, or unspecified where the identity has no such address.
std::array<std::uint8_t, 16> report_source(std::span<const IpAddress> addresses) {
    const auto found = std::ranges::find_if(addresses, &IpAddress::is_link_local);
    return found == addresses.end() ? std::array<std::uint8_t, 16>{} : found->octets;
}

// MLDv2: "we listen to these groups, whoever sends".
Frame listener_report_frame(const MacAddress& mac, std::span<const IpAddress> addresses) {
    constexpr MacAddress kRoutersMac = {0x33, 0x33, 0, 0, 0, 0x16};
    constexpr std::array<std::uint8_t, 16> kRouters = {0xff, 0x02, 0, 0, 0, 0, 0, 0,
                                                       0,    0,    0, 0, 0, 0, 0, 0x16};
    // Next header ICMPv6, router alert for MLD (RFC 2711), padding to eight octets.
    constexpr std::array<std::uint8_t, 8> kRouterAlert = {IPPROTO_ICMPV6, 0, 5, 2, 0, 0, 1, 0};
    constexpr std::uint8_t kReport = 143;
    constexpr std::uint8_t kChangeToExclude = 4;
    struct Record {
        std::uint8_t type = kChangeToExclude;
        std::uint8_t auxiliary = 0;
        std::uint16_t sources = 0;
        // The solicited-node group: ff02::1:ff00:0/104 and the last three octets of the address.
        std::array<std::uint8_t, 16> group = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
    };
    std::vector<Record> records;
    for (const IpAddress& address : addresses) {
        if (address.family != AF_INET6) continue;
        Record record;
        std::ranges::copy(address.bytes().last(3), record.group.end() - 3);
        records.push_back(record);
    }
    icmp6_hdr report = {};
    report.icmp6_type = kReport;
    report.icmp6_data16[1] = htons(static_cast<std::uint16_t>(records.size()));
    ip6_hdr ip = {};
    ip.ip6_flow = htonl(6U << 28);
    ip.ip6_plen = htons(static_cast<std::uint16_t>(sizeof(kRouterAlert) + sizeof(report) +
                                                   records.size() * sizeof(Record)));
    ip.ip6_nxt = IPPROTO_HOPOPTS;
    ip.ip6_hlim = 1;
    std::ranges::copy(report_source(addresses), ip.ip6_src.s6_addr);
    std::ranges::copy(kRouters, ip.ip6_dst.s6_addr);
    Frame frame;
    append(frame, ethernet(kRoutersMac, mac, ETHERTYPE_IPV6));
    append(frame, ip);
    append(frame, kRouterAlert);
    append(frame, report);
    for (const Record& record : records) append(frame, record);
    complete_checksum(std::span(frame).subspan(sizeof(ether_header)));
    return frame;
}

// As many groups as one frame holds; a service with more addresses is known by its first ones at
// once.
constexpr std::size_t kGroupsMax = 64;

}  // namespace

std::vector<Frame> announcement_frames(const MacAddress& mac,
                                       std::span<const IpAddress> addresses) {
    std::vector<Frame> frames;
    std::vector<IpAddress> listening;
    for (const IpAddress& address : addresses) {
        if (address.family == AF_INET) {
            frames.push_back(arp_frame(mac, address, ARPOP_REQUEST));
            frames.push_back(arp_frame(mac, address, ARPOP_REPLY));
        } else {
            frames.push_back(advertisement_frame(mac, address));
            listening.push_back(address);
        }
    }
    if (listening.size() > kGroupsMax) listening.resize(kGroupsMax);
    if (!listening.empty()) frames.push_back(listener_report_frame(mac, listening));
    return frames;
}

Result<Announcer> Announcer::create(const NetworkIdentity& identity, int device_index) {
    Announcer announcer;
    announcer.socket_ = TRY(os::socket(AF_PACKET, SOCK_RAW, 0));  // Protocol 0 receives nothing.
    announcer.device_index_ = device_index;
    announcer.frames_ = announcement_frames(identity.mac, identity.ip_addresses());
    return announcer;
}

Result<> Announcer::announce() const {
    sockaddr_ll device = {};
    device.sll_family = AF_PACKET;
    device.sll_ifindex = device_index_;
    for (const Frame& frame : frames_) {
        TRY(with_context(os::send_to(socket_.get(), frame, device), "announce the address"));
    }
    return {};
}

}  // namespace ferry::handover
