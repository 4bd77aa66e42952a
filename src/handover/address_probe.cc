#include "handover/address_probe.h"

#include <fmt/format.h>
#include <linux/if_packet.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip6.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <set>

#include "base/log.h"
#include "handover/ethernet_frame.h"
#include "handover/ip_packet.h"
#include "os/inet.h"
#include "os/net_socket.h"
#include "os/socket.h"

namespace ferry::handover {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// When the question is put: a first one may be lost while a bridge learns.
constexpr std::array kAskAt = {milliseconds(0),   milliseconds(30),   milliseconds(80),
                               milliseconds(300), milliseconds(1000), milliseconds(2000)};
constexpr milliseconds kPatience{150};
// Where silence refuses the service: one that has just started makes sure of its IPv6 addresses for
// a second or two before it answers for them (RFC 4862, 5.4).
constexpr milliseconds kPatienceBeforeRefusal{2500};
// After every address was answered for: somebody else may do so as well.
constexpr milliseconds kSecondAnswer{20};
constexpr milliseconds kBetweenLooks{5};

Frame arp_probe(const MacAddress& asker, const IpAddress& address) {
    ether_arp arp = {};  // The sender's address stays zero: nobody's neighbour entry changes.
    arp.arp_hrd = htons(ARPHRD_ETHER);
    arp.arp_pro = htons(ETHERTYPE_IP);
    arp.arp_hln = ETH_ALEN;
    arp.arp_pln = 4;
    arp.arp_op = htons(ARPOP_REQUEST);
    std::ranges::copy(asker, arp.arp_sha);
    std::ranges::copy(address.bytes(), arp.arp_tpa);
    Frame frame;
    append(frame, ethernet(kBroadcastMac, asker, ETHERTYPE_ARP));
    append(frame, arp);
    return frame;
}

// From the unspecified address, so the answer goes to all nodes and not to an address of ours.
Frame solicitation(const MacAddress& asker, const IpAddress& address) {
    const auto last = address.bytes().last(3);
    MacAddress group_mac = {0x33, 0x33, 0xff};
    std::ranges::copy(last, group_mac.begin() + 3);
    std::array<std::uint8_t, 16> group = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
    std::ranges::copy(last, group.begin() + 13);
    nd_neighbor_solicit ask = {};
    ask.nd_ns_type = ND_NEIGHBOR_SOLICIT;
    std::ranges::copy(address.bytes(), ask.nd_ns_target.s6_addr);
    ip6_hdr ip = {};
    ip.ip6_flow = htonl(6U << 28);
    ip.ip6_plen = htons(sizeof(ask));
    ip.ip6_nxt = IPPROTO_ICMPV6;
    ip.ip6_hlim = kNeighbourHopLimit;
    std::ranges::copy(group, ip.ip6_dst.s6_addr);
    Frame frame;
    append(frame, ethernet(group_mac, asker, ETHERTYPE_IPV6));
    append(frame, ip);
    append(frame, ask);
    complete_checksum(std::span(frame).subspan(sizeof(ether_header)));
    return frame;
}

template <class T>
std::optional<T> take(std::span<const std::byte>& bytes) {
    if (bytes.size() < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    bytes = bytes.subspan(sizeof(T));
    return value;
}

std::optional<Claim> arp_claim(std::span<const std::byte> bytes) {
    const auto arp = take<ether_arp>(bytes);
    if (!arp || ntohs(arp->arp_op) != ARPOP_REPLY) return std::nullopt;
    Claim claim;
    std::ranges::copy(arp->arp_spa, claim.address.octets.begin());
    std::ranges::copy(arp->arp_sha, claim.mac.begin());
    return claim;
}

std::optional<Claim> advertisement_claim(std::span<const std::byte> bytes, const MacAddress& from) {
    const auto ip = take<ip6_hdr>(bytes);
    if (!ip || ip->ip6_nxt != IPPROTO_ICMPV6 || ip->ip6_hlim != kNeighbourHopLimit) {
        return std::nullopt;
    }
    const auto advert = take<nd_neighbor_advert>(bytes);
    if (!advert || advert->nd_na_type != ND_NEIGHBOR_ADVERT) return std::nullopt;
    Claim claim = {.address = {.family = AF_INET6}, .mac = from};
    std::ranges::copy(advert->nd_na_target.s6_addr, claim.address.octets.begin());
    return claim;
}

// A socket that receives and sends whole frames of one protocol on one device.
Result<os::UniqueFd> frame_socket(int device, std::uint16_t protocol) {
    auto fd = TRY(os::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0));
    packet_mreq everybody = {};
    everybody.mr_ifindex = device;
    everybody.mr_type = PACKET_MR_ALLMULTI;
    TRY(os::setsockopt(fd.get(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, everybody));
    sockaddr_ll address = {};
    address.sll_family = AF_PACKET;
    address.sll_ifindex = device;
    address.sll_protocol = htons(protocol);
    TRY(os::bind_address(fd.get(), address));
    return fd;
}

class Probe {
  public:
    static Result<Probe> start(const NetworkIdentity& identity, const Link& base) {
        Probe probe(identity, base);
        probe.sockets_ = {TRY(frame_socket(base.index, ETHERTYPE_ARP)),
                          TRY(frame_socket(base.index, ETHERTYPE_IPV6))};
        for (const IpAddress& address : identity.ip_addresses()) {
            if (!address.is_link_local()) probe.open_.insert(address);
        }
        return probe;
    }

    Result<> run(bool must_be_joined) {
        auto next = kAskAt.begin();
        const auto begun = Clock::now();
        auto end = begun + (must_be_joined ? kPatienceBeforeRefusal : kPatience);
        while (Clock::now() < end) {
            if (next != kAskAt.end() && Clock::now() >= begun + *next) {
                TRY(ask());
                ++next;
            }
            const bool waiting = !open_.empty();
            TRY(listen(kBetweenLooks));
            if (waiting && open_.empty()) end = Clock::now() + kSecondAnswer;
        }
        for (const IpAddress& address : open_) {
            if (must_be_joined) {
                return fail(Error::unsupported(fmt::format(
                    "nobody answers for {} on {}: it is not in the source's network, and the "
                    "service's connections would break",
                    address.to_string(), base_.name)));
            }
            log_warn("nobody answers for {} on {}: is it the network of the source?",
                     address.to_string(), base_.name);
        }
        return {};
    }

  private:
    Probe(const NetworkIdentity& identity, const Link& base) : identity_(identity), base_(base) {}

  public:
    Result<> ask() {
        for (const IpAddress& address : open_) {
            const auto& socket = sockets_.at(address.family == AF_INET ? 0 : 1);
            sockaddr_ll to = {};
            to.sll_family = AF_PACKET;
            to.sll_ifindex = base_.index;
            TRY(os::send_to(socket.get(), probe_frame(base_.mac.value_or(MacAddress{}), address),
                            to));
        }
        return {};
    }

    // Waits for so long at most. Unsupported: an answer that must not be.
    Result<> listen(milliseconds patience) {
        std::array<pollfd, 2> ready = {pollfd{sockets_[0].get(), POLLIN, 0},
                                       pollfd{sockets_[1].get(), POLLIN, 0}};
        if (TRY(os::poll(ready, static_cast<int>(patience.count()))) == 0) return {};
        std::array<std::byte, 256> buffer;  // Answers are short; of others the beginning is enough.
        for (const os::UniqueFd& socket : sockets_) {
            for (;;) {
                iovec part = {.iov_base = buffer.data(), .iov_len = buffer.size()};
                msghdr message = {};
                message.msg_iov = &part;
                message.msg_iovlen = 1;
                const auto size = TRY(os::receive_message(socket.get(), message, MSG_DONTWAIT));
                if (!size) break;
                if (const auto claim = claim_in(std::span(buffer).first(*size))) {
                    TRY(consider(*claim));
                }
            }
        }
        return {};
    }

    void expect_silence() { silence_ = true; }

  private:
    Result<> consider(const Claim& claim) {
        const auto addresses = identity_.ip_addresses();
        if (std::ranges::find(addresses, claim.address) == addresses.end()) return {};
        if (silence_ || claim.mac != identity_.mac) {
            return fail(Error::unsupported(
                fmt::format("the address {} is taken: {} answers for it on {}",
                            claim.address.to_string(), to_string(claim.mac), base_.name)));
        }
        open_.erase(claim.address);
        return {};
    }

    NetworkIdentity identity_;
    Link base_;
    bool silence_ = false;  // nobody may answer
    std::array<os::UniqueFd, 2> sockets_;
    std::set<IpAddress> open_;  // nobody has answered yet
};

}  // namespace

std::vector<std::byte> probe_frame(const MacAddress& asker, const IpAddress& address) {
    return address.family == AF_INET ? arp_probe(asker, address) : solicitation(asker, address);
}

std::optional<Claim> claim_in(std::span<const std::byte> frame) {
    const auto header = take<ether_header>(frame);
    if (!header) return std::nullopt;
    if (ntohs(header->ether_type) == ETHERTYPE_ARP) return arp_claim(frame);
    if (ntohs(header->ether_type) != ETHERTYPE_IPV6) return std::nullopt;
    MacAddress from;
    std::ranges::copy(header->ether_shost, from.begin());
    return advertisement_claim(frame, from);
}

struct UnclaimedQuestion::State {
    Probe probe;
    Clock::time_point asked = Clock::now();
};

UnclaimedQuestion::UnclaimedQuestion(std::unique_ptr<State> state) : state_(std::move(state)) {}
UnclaimedQuestion::UnclaimedQuestion(UnclaimedQuestion&&) noexcept = default;
UnclaimedQuestion& UnclaimedQuestion::operator=(UnclaimedQuestion&&) noexcept = default;
UnclaimedQuestion::~UnclaimedQuestion() = default;

Result<UnclaimedQuestion> UnclaimedQuestion::ask(const NetworkIdentity& identity,
                                                 const Link& base) {
    auto probe = TRY(Probe::start(identity, base));
    probe.expect_silence();
    TRY(probe.ask());
    return UnclaimedQuestion(std::make_unique<State>(State{.probe = std::move(probe)}));
}

Result<> UnclaimedQuestion::expect_silence() {
    const auto end = state_->asked + kSecondAnswer;
    while (Clock::now() < end) TRY(state_->probe.listen(kBetweenLooks));
    return state_->probe.listen(milliseconds(0));
}

Result<> check_unclaimed(const NetworkIdentity& identity, const Link& base, bool must_be_joined) {
    auto probe = TRY(Probe::start(identity, base));
    return probe.run(must_be_joined);
}

}  // namespace ferry::handover
