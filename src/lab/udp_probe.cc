#include "lab/udp_probe.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>

#include "lab/client_thread.h"
#include "os/inet.h"
#include "os/socket.h"

namespace ferry::lab {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

// What a voice call puts into a datagram (20 ms of G.711).
constexpr std::size_t kDatagramBytes = 160;
struct Head {
    std::uint64_t mark, number;
};

}  // namespace

void EchoAccount::sent(Moment at) {
    result_.packets.push_back({.sent = at});
    ++result_.sent;
}

void EchoAccount::echoed(std::uint64_t number, Moment at) {
    if (number >= result_.packets.size()) return foreign();
    UdpPacket& packet = result_.packets[number];
    if (packet.delay_ms >= 0) {
        ++result_.duplicates;
        return;
    }
    packet.delay_ms = Milliseconds(at - packet.sent).count();
    delay_sum_ms_ += packet.delay_ms;
    result_.delays.add(at - packet.sent);
    if (result_.received > 0) {
        if (number < highest_) ++result_.reordered;
        // RFC 3550, 6.4.1: D of two packets is the difference of their transit times.
        const double difference = std::abs(packet.delay_ms - last_delay_ms_);
        result_.jitter_ms += (difference - result_.jitter_ms) / 16;
        result_.longest_jitter_ms = std::max(result_.longest_jitter_ms, result_.jitter_ms);
        result_.longest_gap_ms =
            std::max(result_.longest_gap_ms, Milliseconds(at - last_echo_).count());
    }
    highest_ = std::max(highest_, number);
    last_delay_ms_ = packet.delay_ms;
    last_echo_ = at;
    ++result_.received;
}

UdpResult EchoAccount::result() const {
    UdpResult result = result_;
    if (result.received > 0) {
        result.mean_delay_ms = delay_sum_ms_ / static_cast<double>(result.received);
    }
    return result;
}

Result<std::unique_ptr<UdpProbe>> UdpProbe::start(const Host& client,
                                                  const UdpProbeOptions& options) {
    std::unique_ptr<UdpProbe> probe(new UdpProbe(options));
    std::random_device device;
    probe->mark_ = (std::uint64_t{device()} << 32) | device();
    TRY(in_network_of(client, [&]() -> Result<> {
        const auto addresses = TRY(os::resolve(options.ip, options.port));
        probe->socket_ = TRY(os::socket(addresses.front().family(), SOCK_DGRAM | SOCK_NONBLOCK, 0));
        return os::connect(probe->socket_.get(), addresses.front());
    }));
    probe->thread_ = std::thread([probe = probe.get()] { probe->run(); });
    return probe;
}

UdpProbe::~UdpProbe() {
    static_cast<void>(stop());
}

UdpResult UdpProbe::stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return account_.result();
}

void UdpProbe::run() {
    become_a_client("udp-probe");
    Moment due = Clock::now();
    Moment end = Moment::max();  // when nothing is waited for any longer
    for (;;) {
        const Moment now = Clock::now();
        if (stop_ && end == Moment::max()) end = now + options_.patience;
        const bool complete = account_.received() == account_.next_number();
        if (now >= end || (end != Moment::max() && complete)) return;
        if (end == Moment::max() && now >= due) {
            send_next();
            due += options_.interval;
        }
        const auto until = end == Moment::max() ? due : end;
        const auto wait = std::max(until - Clock::now(), Clock::duration::zero());
        const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(wait).count();
        const timespec timeout = {ns / 1'000'000'000, ns % 1'000'000'000};
        pollfd ready = {socket_.get(), POLLIN, 0};
        if (::ppoll(&ready, 1, &timeout, nullptr) > 0) take_echoes();
    }
}

// What cannot be sent (no route for a moment, a full queue) was lost on its way like any other.
void UdpProbe::send_next() {
    std::array<std::byte, kDatagramBytes> datagram = {};
    const Head head = {mark_, account_.next_number()};
    std::memcpy(datagram.data(), &head, sizeof head);
    account_.sent(Clock::now());
    static_cast<void>(os::send_some(socket_.get(), datagram));
}

void UdpProbe::take_echoes() {
    std::array<std::byte, 2048> datagram;
    for (;;) {
        const Result<os::Moved> moved = os::receive_some(socket_.get(), datagram);
        // An error is the answer of a router or a host to a datagram of ours that was lost.
        if (!moved || moved->would_block) return;
        Head head = {};
        std::memcpy(&head, datagram.data(), sizeof head);
        if (moved->bytes == kDatagramBytes && head.mark == mark_) {
            account_.echoed(head.number, Clock::now());
        } else {
            account_.foreign();
        }
        received_ = account_.received();
    }
}

}  // namespace ferry::lab
