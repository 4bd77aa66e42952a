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

std::chrono::time_point<Clock, std::chrono::duration<double, std::nano>> arrival(
    const UdpPacket& packet) {
    return packet.sent + Milliseconds(packet.delay_ms);
}

}  // namespace

UdpResult summarise(std::span<const UdpPacket> packets, Moment begin, Moment end) {
    UdpResult result;
    result.begin = begin;
    result.seconds = std::chrono::duration<double>(end - begin).count();
    std::vector<std::size_t> by_arrival;
    for (const UdpPacket& packet : packets) {
        if (packet.sent < begin || packet.sent >= end) continue;
        result.duplicates += packet.duplicates;
        if (packet.delay_ms >= 0) by_arrival.push_back(result.packets.size());
        result.packets.push_back(packet);
    }
    result.sent = result.packets.size();
    result.received = by_arrival.size();
    std::stable_sort(by_arrival.begin(), by_arrival.end(), [&](std::size_t a, std::size_t b) {
        return arrival(result.packets[a]) < arrival(result.packets[b]);
    });
    double delay_sum_ms = 0;
    std::size_t highest = 0;
    const UdpPacket* before = nullptr;
    for (const std::size_t number : by_arrival) {
        const UdpPacket& packet = result.packets[number];
        delay_sum_ms += packet.delay_ms;
        result.delays.add(
            std::chrono::duration_cast<std::chrono::nanoseconds>(Milliseconds(packet.delay_ms)));
        if (number < highest) ++result.reordered;
        highest = std::max(highest, number);
        if (before != nullptr) {
            // D of two packets is the difference of their transit times.
            const double difference = std::abs(packet.delay_ms - before->delay_ms);
            result.jitter_ms += (difference - result.jitter_ms) / 16;
            result.longest_jitter_ms = std::max(result.longest_jitter_ms, result.jitter_ms);
            const Milliseconds gap = arrival(packet) - arrival(*before);
            result.longest_gap_ms = std::max(result.longest_gap_ms, gap.count());
        }
        before = &packet;
    }
    if (result.received > 0) {
        result.mean_delay_ms = delay_sum_ms / static_cast<double>(result.received);
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
    stop_ = true;
    if (thread_.joinable()) thread_.join();
}

UdpResult UdpProbe::window(Moment begin, Moment end) {
    const std::lock_guard lock(mutex_);
    return summarise(packets_, begin, end);
}

UdpResult UdpProbe::stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    if (packets_.empty()) return {};
    return window(packets_.front().sent, packets_.back().sent + options_.interval);
}

void UdpProbe::run() {
    become_a_client("udp-probe");
    Moment due = Clock::now();
    Moment end = Moment::max();  // when nothing is waited for any longer
    for (;;) {
        const Moment now = Clock::now();
        if (stop_ && end == Moment::max()) end = now + options_.patience;
        const bool complete = received_ == packets_.size();  // only this thread changes them
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
    const Head head = {mark_, packets_.size()};
    std::memcpy(datagram.data(), &head, sizeof head);
    {
        const std::lock_guard lock(mutex_);
        packets_.push_back({.sent = Clock::now()});
    }
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
            note_echo(head.number, Clock::now());
        }
    }
}

void UdpProbe::note_echo(std::uint64_t number, Moment at) {
    const std::lock_guard lock(mutex_);
    if (number >= packets_.size()) return;
    UdpPacket& packet = packets_[number];
    if (packet.delay_ms >= 0) {
        ++packet.duplicates;
        return;
    }
    packet.delay_ms = Milliseconds(at - packet.sent).count();
    ++received_;
}

}  // namespace ferry::lab
