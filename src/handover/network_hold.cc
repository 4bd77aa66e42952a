#include "handover/network_hold.h"

#include <fmt/format.h>
#include <linux/netfilter.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "base/log.h"
#include "handover/ip_packet.h"
#include "handover/netlink.h"
#include "handover/nftables.h"
#include "handover/packet_capture.h"
#include "os/net_socket.h"
#include "os/socket.h"

namespace ferry::handover {
namespace {

// Before connection tracking and its reassembly (-400), so that nothing keeps state of dropped
// packets.
constexpr std::int32_t kPriority = -450;
const char* const kInput = "input";
const char* const kOutput = "output";

NftRule towards(const HoldTarget& target) {
    NftRule rule;
    rule.match_destination(target.address);
    if (target.port != 0) rule.match_tcp_destination_port(target.port);
    return rule;
}

NftRule from(const HoldTarget& target) {
    NftRule rule;
    rule.match_source(target.address);
    if (target.port != 0) rule.match_tcp_source_port(target.port);
    return rule;
}

// Whether the stack will ever take the packet is for it to say: these mean that it will not.
bool is_refusal(const Error& error) {
    return error.kind() == Error::Kind::System &&
           (error.code() == ENETUNREACH || error.code() == EHOSTUNREACH || error.code() == EPERM ||
            error.code() == EACCES || error.code() == EINVAL || error.code() == EMSGSIZE);
}

Result<os::UniqueFd> raw_socket(int family) {
    auto fd = TRY(os::socket(family, SOCK_RAW, IPPROTO_RAW));  // IPPROTO_RAW: the header is ours.
    TRY(os::setsockopt(fd.get(), SOL_SOCKET, SO_MARK, kReplayMark));
    return fd;
}

}  // namespace

Result<PacketReplay> PacketReplay::create(Firewall firewall) {
    PacketReplay replay;
    replay.firewall_ = firewall;
    replay.v4_ = TRY(raw_socket(AF_INET));
    // A kernel without IPv6 has no IPv6 packets to replay either.
    if (auto v6 = raw_socket(AF_INET6)) replay.v6_ = std::move(*v6);
    return replay;
}

// A raw packet for a local address is routed like any sent one: its route is the local one, so it
// goes through the loopback device with that route attached. The receiving half of the stack finds
// a route there and makes no check of its own, neither reverse path nor martian, though the source
// address is a foreign one. IPv6 takes the device of the address for the receiving one.
Result<std::size_t> PacketReplay::replay(std::span<const HeldPacket> packets, ReplayPart part) {
    for (const HeldPacket& packet : packets) {
        if (ip_packet_length(packet) != packet.size()) {
            return fail(Error::corrupt(fmt::format("a held packet of {} bytes", packet.size())));
        }
    }
    std::size_t injected = 0;
    for (const HeldPacket& packet : packets) {
        const bool known = is_of_known_connection(packet);
        if (part != ReplayPart::All && known != (part == ReplayPart::KnownConnections)) continue;
        if (firewall_ == Firewall::Yes && !known) continue;
        const IpAddress to = ip_destination(packet);
        sockaddr_in v4 = {};
        sockaddr_in6 v6 = {};
        Result<> sent;
        if (to.family == AF_INET) {
            v4.sin_family = AF_INET;
            std::memcpy(&v4.sin_addr, to.octets.data(), sizeof(v4.sin_addr));
            sent = os::send_to(v4_.get(), packet, v4);
        } else if (v6_) {
            v6.sin6_family = AF_INET6;
            std::memcpy(&v6.sin6_addr, to.octets.data(), sizeof(v6.sin6_addr));
            sent = os::send_to(v6_.get(), packet, v6);
        } else {
            continue;
        }
        if (sent) {
            ++injected;
        } else if (is_refusal(sent.error())) {
            log_debug("replay of a packet for {}: {}, ignoring: its sender will repeat it",
                      to.to_string(), sent.error().message());
        } else {
            return fail(std::move(sent.error()).context("replay of held packets"));
        }
    }
    return injected;
}

struct NetworkHold::State {
    std::vector<HoldTarget> targets;
    HoldScope scope = HoldScope::Everything;
    NftTable table;
    bool installed = false;
    PacketReplay replay;
    // The last one first: rules go before the capture that backs them.
    PacketCapture capture;
    NetlinkSocket netlink;

    void add_rules(NftBatch& batch) const;
};

void NetworkHold::State::add_rules(NftBatch& batch) const {
    for (const HoldTarget& target : targets) {
        auto in = towards(target);
        if (scope == HoldScope::NewConnections) {
            batch.add_rule(table, kInput, in.match_tcp_syn(), NftRule::Verdict::Drop);
            continue;
        }
        batch.add_rule(table, kInput, in, NftRule::Verdict::Drop)
            .add_rule(table, kOutput, from(target), NftRule::Verdict::Drop);
    }
}

NetworkHold::NetworkHold(std::unique_ptr<State> state) : state_(std::move(state)) {}
NetworkHold::NetworkHold(NetworkHold&&) noexcept = default;
NetworkHold& NetworkHold::operator=(NetworkHold&&) noexcept = default;
// Closing the netlink socket removes the table, so there is nothing to do that could fail.
NetworkHold::~NetworkHold() = default;

Result<NetworkHold> NetworkHold::install(std::span<const HoldTarget> targets, HoldScope scope,
                                         Firewall firewall) {
    std::vector<HoldTarget> real;
    for (const HoldTarget& target : targets) {
        if (target.address.is_wildcard()) continue;
        if (target.address.is_loopback() && target.port == 0) continue;
        real.push_back(target);
    }
    if (real.empty()) return NetworkHold(nullptr);
    if (real.size() > kHoldTargetsMax) {
        return fail(Error::limit(fmt::format("{} addresses to hold packets for", real.size())));
    }
    auto replay = TRY(PacketReplay::create(firewall));
    auto netlink = TRY(NetlinkSocket::open(NETLINK_NETFILTER));
    auto capture = TRY(PacketCapture::start(real, scope == HoldScope::Everything
                                                      ? CaptureScope::Everything
                                                      : CaptureScope::NewConnections));
    auto state = std::make_unique<State>(State{
        .targets = std::move(real),
        .scope = scope,
        .table = {.family = NFPROTO_INET,
                  .name = fmt::format("{}{}_{}", kHoldTables, ::getpid(), netlink.fd())},
        .replay = std::move(replay),
        .capture = std::move(capture),
        .netlink = std::move(netlink),
    });
    NftBatch batch;
    batch.add_table(state->table, NftOwner::Yes)
        .add_chain(state->table,
                   {.name = kInput, .hook = NF_INET_PRE_ROUTING, .priority = kPriority})
        .add_chain(state->table,
                   {.name = kOutput, .hook = NF_INET_LOCAL_OUT, .priority = kPriority})
        .add_rule(state->table, kInput, NftRule().match_mark(kReplayMark),
                  NftRule::Verdict::Accept);
    state->add_rules(batch);
    TRY(state->netlink.request(batch.finish(), "install the network hold (nftables)"));
    state->installed = true;
    return NetworkHold(std::move(state));
}

Result<> NetworkHold::capture_connections() {
    if (!state_ || state_->scope == HoldScope::Everything) return {};
    return state_->capture.widen(state_->targets, CaptureScope::Tcp);
}

// Datagrams are captured from here on only. One that is on its way between the capture and the rule
// in these microseconds may be lost, as datagrams may; captured earlier, it would come twice.
Result<> NetworkHold::hold_everything() {
    if (!state_ || state_->scope == HoldScope::Everything) return {};
    TRY(state_->capture.widen(state_->targets, CaptureScope::Everything));
    state_->scope = HoldScope::Everything;
    NftBatch batch;
    state_->add_rules(batch);
    return state_->netlink.request(batch.finish(), "hold all packets (nftables)");
}

Result<> NetworkHold::allow_outgoing() {
    if (!state_ || !state_->installed) return {};
    NftBatch batch;
    batch.flush_chain(state_->table, kOutput);
    return state_->netlink.request(batch.finish(), "let packets out (nftables)");
}

Result<std::vector<HeldPacket>> NetworkHold::take_packets() {
    if (!state_) return std::vector<HeldPacket>{};
    return with_context(state_->capture.take(), "take held packets");
}

Result<> NetworkHold::release_and_replay(std::span<const HeldPacket> taken) {
    if (!state_ || !state_->installed) return {};
    // 1. Packets may leave: what the replay provokes (acknowledgements) must reach the peers.
    TRY(allow_outgoing());
    // 2. The held packets come in, in their order, before any that arrive now.
    TRY(state_->replay.replay(taken));
    TRY(state_->replay.replay(TRY(state_->capture.take())));
    // 3. New packets come in by themselves.
    NftBatch let_in;
    let_in.flush_chain(state_->table, kInput);
    TRY(state_->netlink.request(let_in.finish(), "let packets in (nftables)"));
    // 4. What arrived between the last take and step 3 was dropped, but captured.
    TRY(state_->replay.replay(TRY(state_->capture.take())));
    return release();
}

Result<> NetworkHold::release() {
    if (!state_ || !state_->installed) return {};
    NftBatch batch;
    batch.delete_table(state_->table);
    TRY(state_->netlink.request(batch.finish(), "remove the network hold (nftables)"));
    state_->installed = false;
    return {};
}

std::uint64_t NetworkHold::lost_packets() {
    return state_ ? state_->capture.lost() : 0;
}

}  // namespace ferry::handover
