#include "lab/client_record.h"

#include <algorithm>
#include <cmath>

namespace ferry::lab {
namespace {

constexpr std::chrono::milliseconds kUdpInterval{100};

struct Span {
    Moment begin = Moment::max(), end = Moment::min();
    void cover(Moment from, double seconds) {
        const std::chrono::nanoseconds length(std::llround(seconds * 1e9));
        begin = std::min(begin, from);
        end = std::max(end, from + length);
    }
    [[nodiscard]] double seconds() const {
        return std::chrono::duration<double>(end - begin).count();
    }
};

void add_http(ClientRecord& record, const std::vector<HttpResult>& sites) {
    LatencyHistogram delays;
    std::uint64_t due = 0, answered = 0, failed = 0, broken = 0, again = 0, bytes = 0;
    double longest_delay = 0, longest_pause = 0;
    Span span;
    for (const HttpResult& site : sites) {
        span.cover(site.begin, site.seconds);
        for (const LatencyHistogram& kind : site.delays) delays.merge(kind);
        due += site.due;
        answered += site.answers();
        failed += site.failed;
        broken += site.broken_connections;
        again += site.retransmissions;
        bytes += site.bytes;
        longest_delay = std::max(longest_delay, site.longest_delay_ms);
        longest_pause = std::max(longest_pause, site.longest_pause_ms);
    }
    record.requests = due;
    record.failed_requests = failed;
    record.broken_connections = broken;
    record.retransmissions = again;
    if (span.seconds() > 0) {
        record.requests_per_second = static_cast<double>(answered) / span.seconds();
        record.bytes_per_second = static_cast<double>(bytes) / span.seconds();
    }
    if (due == 0) return;
    record.delay_max_ms = longest_delay;
    record.longest_pause_ms = longest_pause;
    if (delays.count() == 0) return;
    record.delay_p50_ms = delays.quantile_ms(0.5);
    record.delay_p99_ms = delays.quantile_ms(0.99);
}

void add_udp(ClientRecord& record, const std::vector<UdpResult>& sites) {
    LatencyHistogram delays;
    std::uint64_t sent = 0, lost = 0;
    double jitter = 0;
    for (const UdpResult& site : sites) {
        delays.merge(site.delays);
        sent += site.sent;
        lost += site.lost();
        jitter = std::max(jitter, site.longest_jitter_ms);
    }
    record.probes_sent = sent;
    record.probes_lost = lost;
    if (delays.count() == 0) return;
    record.probe_delay_p50_ms = delays.quantile_ms(0.5);
    record.probe_delay_max_ms = delays.max_ms();
    record.jitter_ms = jitter;
}

void add_comments(ClientRecord& record, const std::vector<CommentCheck>& sites) {
    CommentCheck all;
    for (const CommentCheck& site : sites) {
        all.acknowledged += site.acknowledged;
        all.found_once += site.found_once;
        all.lost += site.lost;
        all.doubled += site.doubled;
    }
    record.comments_acknowledged = all.acknowledged;
    record.comments_found_once = all.found_once;
    record.comments_lost = all.lost;
    record.comments_doubled = all.doubled;
}

Series empty_series(Quantity quantity, const std::string& subject) {
    Series series;
    series.quantity = quantity;
    series.subject = subject;
    return series;
}

// In intervals from the first datagram on.
Series lost_per_second(const UdpResult& result, const RunClock& clock, const std::string& subject) {
    Series lost = empty_series(Quantity::ProbesLost, subject);
    if (result.packets.empty()) return lost;
    const Moment begin = result.packets.front().sent;
    const auto index = [&](const UdpPacket& packet) {
        return static_cast<std::size_t>((packet.sent - begin) / kUdpInterval);
    };
    std::vector<double> counts(index(result.packets.back()) + 1);
    for (const UdpPacket& packet : result.packets) counts[index(packet)] += packet.delay_ms < 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        lost.add(clock.at_ns(begin + kUdpInterval * static_cast<std::int64_t>(i)),
                 counts[i] / std::chrono::duration<double>(kUdpInterval).count());
    }
    return lost;
}

}  // namespace

ClientRecord client_record(const ClientFigures& figures, const RunClock& clock) {
    ClientRecord record;
    Span span;
    for (const HttpResult& site : figures.http) span.cover(site.begin, site.seconds);
    for (const UdpResult& site : figures.udp) span.cover(site.begin, site.seconds);
    if (span.begin <= span.end) {
        record.begin_ns = clock.at_ns(span.begin);
        record.end_ns = clock.at_ns(span.end);
    }
    if (!figures.http.empty()) add_http(record, figures.http);
    if (!figures.udp.empty()) add_udp(record, figures.udp);
    // The probe is the only client where there is no other.
    if (figures.http.empty()) record.longest_pause_ms = record.probe_delay_max_ms;
    if (!figures.comments.empty()) add_comments(record, figures.comments);
    return record;
}

std::vector<Series> http_series(const HttpResult& result, const RunClock& clock,
                                const std::string& subject) {
    Series requests = empty_series(Quantity::Requests, subject);
    Series throughput = empty_series(Quantity::Throughput, subject);
    Series failures = empty_series(Quantity::FailedRequests, subject);
    Series delay = empty_series(Quantity::Delay, subject);
    for (const HttpSample& sample : result.samples) {
        const std::int64_t at = clock.at_ns(sample.begin);
        requests.add(at, static_cast<double>(sample.answered) / sample.seconds);
        throughput.add(at, static_cast<double>(sample.bytes) / sample.seconds);
        failures.add(at, static_cast<double>(sample.failed) / sample.seconds);
        // Without an answer there is no delay, which is not a delay of 0.
        if (sample.answered > 0) delay.add(at, sample.longest_ms);
    }
    return {requests, throughput, failures, delay};
}

std::vector<Series> udp_series(const UdpResult& result, const RunClock& clock,
                               const std::string& subject) {
    Series delay = empty_series(Quantity::ProbeDelay, subject);
    Series jitter = empty_series(Quantity::Jitter, subject);
    double smoothed = 0, before = -1;
    for (const UdpPacket& packet : result.packets) {
        if (packet.delay_ms < 0) continue;
        const std::int64_t at = clock.at_ns(packet.sent);
        // As summarise() has it, in the order of sending.
        if (before >= 0) smoothed += (std::abs(packet.delay_ms - before) - smoothed) / 16;
        before = packet.delay_ms;
        delay.add(at, packet.delay_ms);
        jitter.add(at, smoothed);
    }
    return {delay, jitter, lost_per_second(result, clock, subject)};
}

}  // namespace ferry::lab
