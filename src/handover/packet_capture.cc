#include "handover/packet_capture.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstring>
#include <optional>

#include "base/limits.h"
#include "handover/ip_packet.h"
#include "os/net_socket.h"
#include "os/socket.h"

namespace ferry::handover {
namespace {

constexpr std::uint32_t kWholePacket = 0xffffffff;

// Builds one target's block: a chain of tests, each of which leaves the block when it fails.
class FilterBlock {
  public:
    void load(std::uint16_t size, std::uint32_t offset, std::uint16_t mode = BPF_ABS) {
        add(static_cast<std::uint16_t>(BPF_LD | size | mode), offset);
    }
    void load_header_length(std::uint32_t offset) { add(BPF_LDX | BPF_B | BPF_MSH, offset); }
    void set_index(std::uint32_t value) { add(BPF_LDX | BPF_W | BPF_IMM, value); }
    void mask(std::uint32_t value) { add(BPF_ALU | BPF_AND | BPF_K, value); }
    void require_equal(std::uint32_t value) { test(BPF_JEQ, value); }
    // Accepts the packet; a failed test lands behind this.
    void accept_into(std::vector<sock_filter>& program) {
        add(BPF_RET | BPF_K, kWholePacket);
        for (const std::size_t i : tests_) {
            code_[i].jf = static_cast<std::uint8_t>(code_.size() - i - 1);
        }
        program.insert(program.end(), code_.begin(), code_.end());
    }

  private:
    void add(std::uint16_t code, std::uint32_t k) {
        code_.push_back({.code = code, .jt = 0, .jf = 0, .k = k});
    }
    void test(std::uint16_t condition, std::uint32_t value) {
        tests_.push_back(code_.size());
        add(static_cast<std::uint16_t>(BPF_JMP | condition | BPF_K), value);
    }
    std::vector<sock_filter> code_;
    std::vector<std::size_t> tests_;
};

std::uint32_t word_of(const IpAddress& address, std::size_t index) {
    std::uint32_t word = 0;
    std::memcpy(&word, address.octets.data() + 4 * index, sizeof(word));
    return ntohl(word);
}

void add_target(std::vector<sock_filter>& program, const HoldTarget& target, CaptureScope scope) {
    FilterBlock block;
    const auto ancillary = [](int field) { return static_cast<std::uint32_t>(SKF_AD_OFF + field); };
    block.load(BPF_H, ancillary(SKF_AD_PROTOCOL));
    const bool v4 = target.address.family == AF_INET;
    block.require_equal(v4 ? ETH_P_IP : ETH_P_IPV6);
    const std::uint32_t destination = v4 ? 16 : 24;
    for (std::uint32_t i = 0; i < target.address.size() / 4; ++i) {
        block.load(BPF_W, destination + 4 * i);
        block.require_equal(word_of(target.address, i));
    }
    if (target.port != 0 || scope != CaptureScope::Everything) {
        block.load(BPF_B, v4 ? 9 : 6);
        block.require_equal(IPPROTO_TCP);
    }
    if (target.port != 0 || scope == CaptureScope::NewConnections) {
        if (v4) {
            // Later fragments have no TCP header.
            block.load(BPF_H, 6);
            block.mask(0x1fff);
            block.require_equal(0);
            block.load_header_length(0);
        } else {
            block.set_index(40);
        }
        if (target.port != 0) {
            block.load(BPF_H, 2, BPF_IND);
            block.require_equal(target.port);
        }
        if (scope == CaptureScope::NewConnections) {
            block.load(BPF_B, 13, BPF_IND);
            block.mask(TH_SYN | TH_ACK);
            block.require_equal(TH_SYN);
        }
    }
    block.accept_into(program);
}

Result<> attach(int socket, std::vector<sock_filter> program) {
    const sock_fprog value = {.len = static_cast<unsigned short>(program.size()),
                              .filter = program.data()};
    return os::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, value);
}

// The kernel's word on a received packet (PACKET_AUXDATA).
std::optional<tpacket_auxdata> auxiliary_of(const msghdr& message) {
    msghdr copy = message;
    for (cmsghdr* h = CMSG_FIRSTHDR(&copy); h != nullptr; h = CMSG_NXTHDR(&copy, h)) {
        if (h->cmsg_level != SOL_PACKET || h->cmsg_type != PACKET_AUXDATA) continue;
        tpacket_auxdata data;
        std::memcpy(&data, CMSG_DATA(h), sizeof(data));
        return data;
    }
    return std::nullopt;
}

}  // namespace

std::vector<sock_filter> capture_filter(std::span<const HoldTarget> targets, CaptureScope scope) {
    const auto load = [](std::uint16_t size, int field) -> sock_filter {
        return {.code = static_cast<std::uint16_t>(BPF_LD | size | BPF_ABS),
                .jt = 0,
                .jf = 0,
                .k = static_cast<std::uint32_t>(SKF_AD_OFF + field)};
    };
    constexpr sock_filter kReject = {.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = 0};
    std::vector<sock_filter> program;
    // PACKET_HOST: what is for another host (the uplink sees a macvlan's frames before the macvlan
    // does) and what we send ourselves is not for us to hold.
    program.push_back(load(BPF_B, SKF_AD_PKTTYPE));
    program.push_back({.code = BPF_JMP | BPF_JEQ | BPF_K, .jt = 1, .jf = 0, .k = PACKET_HOST});
    program.push_back(kReject);
    // Replayed packets come in through the loopback device; to hold them again would double them.
    program.push_back(load(BPF_W, SKF_AD_MARK));
    program.push_back({.code = BPF_JMP | BPF_JEQ | BPF_K, .jt = 0, .jf = 1, .k = kReplayMark});
    program.push_back(kReject);
    for (const HoldTarget& target : targets) add_target(program, target, scope);
    program.push_back(kReject);
    return program;
}

Result<PacketCapture> PacketCapture::start(std::span<const HoldTarget> targets,
                                           CaptureScope scope) {
    // Protocol 0 receives nothing until bind(2), so the filter is in place before the first packet.
    auto fd = TRY(os::socket(AF_PACKET, SOCK_DGRAM, 0));
    TRY(attach(fd.get(), capture_filter(targets, scope)));
    TRY(os::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE,
                       static_cast<int>(limits::kHeldBytesMax)));
    TRY(os::setsockopt(fd.get(), SOL_PACKET, PACKET_AUXDATA, int{1}));
    sockaddr_ll everywhere = {};
    everywhere.sll_family = AF_PACKET;
    // ETH_P_ALL sees packets before the ingress hooks of a muted device; ETH_P_IP would see them
    // after.
    everywhere.sll_protocol = htons(ETH_P_ALL);
    TRY(os::bind_address(fd.get(), everywhere));
    return PacketCapture(std::move(fd));
}

Result<> PacketCapture::widen(std::span<const HoldTarget> targets, CaptureScope scope) {
    return attach(fd_.get(), capture_filter(targets, scope));
}

Result<std::vector<HeldPacket>> PacketCapture::take() {
    std::vector<HeldPacket> packets;
    std::vector<std::byte> buffer(kIpPacketBytesMax);
    for (;;) {
        alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(tpacket_auxdata))] = {};
        iovec part = {.iov_base = buffer.data(), .iov_len = buffer.size()};
        msghdr message = {};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof(control);
        const auto size = TRY(os::receive_message(fd_.get(), message, MSG_DONTWAIT | MSG_TRUNC));
        if (!size) return packets;
        const auto whole =
            *size > buffer.size() ? std::nullopt : ip_packet_length(std::span(buffer).first(*size));
        if (!whole) {  // A "big TCP" packet or a broken header: its sender sends it again.
            ++lost_;
            continue;
        }
        // Short frames are padded to the minimum of Ethernet; the packet ends where its header
        // says.
        const auto packet = std::span(buffer).first(*whole);
        const auto auxiliary = auxiliary_of(message);
        // A checksum that was there is kept, right or wrong: completing a corrupted packet would
        // make it valid.
        if (auxiliary && (auxiliary->tp_status & TP_STATUS_CSUMNOTREADY) != 0) {
            complete_checksum(packet);
        }
        packets.emplace_back(packet.begin(), packet.end());
    }
}

std::uint64_t PacketCapture::lost() {
    // Reading the statistics resets them.
    if (const auto stats =
            os::getsockopt<tpacket_stats>(fd_.get(), SOL_PACKET, PACKET_STATISTICS)) {
        lost_ += stats->tp_drops;
    }
    return lost_;
}

}  // namespace ferry::handover
