// What the clients of a site saw: plain values, filled by HttpLoad and UdpProbe, read by whoever
// judges or draws them. Moments are of CLOCK_MONOTONIC (std::chrono::steady_clock), which all
// samplers of one machine share, so that timelines can be laid over each other.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "lab/latency.h"

namespace ferry::lab {

using Moment = std::chrono::steady_clock::time_point;

enum class RequestKind { Page, Image, Login, Comment };
inline constexpr std::size_t kRequestKinds = 4;

// One request, when it is over or looked at.
struct HttpRecord {
    RequestKind kind = RequestKind::Page;
    Moment due = {};          // when it was to be sent
    Moment done = {};         // when its last byte came, or when it failed
    bool answered = false;    // as was expected
    bool pending = false;     // not over yet: `done` is when it was looked at
    bool broke = false;       // its connection was closed or reset by anyone but the client
    std::uint64_t bytes = 0;  // headers and body received
    // Segments that the client's side of the connection sent again since the request before.
    std::uint64_t retransmissions = 0;
};

// The answers of one interval; an answer belongs to the interval in which its last byte came.
struct HttpSample {
    Moment begin;
    double seconds = 0;                    // length of the interval
    std::uint64_t due = 0;                 // requests whose moment to be sent lay in it
    std::uint64_t answered = 0;            // with the status that was expected
    std::uint64_t failed = 0;              // any other answer, or none
    std::uint64_t broken_connections = 0;  // closed or reset by anyone but the client
    std::uint64_t retransmissions = 0;     // by the client's TCP
    std::uint64_t bytes = 0;               // headers and bodies received
    double median_ms = 0;                  // delay of the answered ones; 0 if there were none
    double longest_ms = 0;
};

// Of the requests that were due in a span of time, see summarise() in lab/http_summary.h. A delay
// runs from the moment at which a request was due, whether or not a connection was free then, to
// the last byte of its answer.
struct HttpResult {
    Moment begin;
    double seconds = 0;  // length of the span
    std::uint64_t due = 0;
    std::array<std::uint64_t, kRequestKinds> answered = {};  // by RequestKind
    std::array<LatencyHistogram, kRequestKinds> delays;      // of the answered ones
    std::uint64_t failed = 0;
    std::uint64_t pending = 0;  // neither answered nor failed yet; the longest delays include them
    std::uint64_t broken_connections = 0;
    std::uint64_t retransmissions = 0;
    std::uint64_t bytes = 0;
    double longest_delay_ms = 0;  // of any request, failed ones included
    // The most that any request took beyond the lower quartile of its kind over the whole load:
    // what the unluckiest client waited for something else than the service's own work.
    double longest_pause_ms = 0;
    // The longest time in which requests were under way and no connection got an answer.
    double longest_silence_ms = 0;
    std::vector<HttpSample> samples;

    [[nodiscard]] bool good() const { return failed == 0 && broken_connections == 0; }
    [[nodiscard]] std::uint64_t answers() const {
        std::uint64_t all = 0;
        for (const std::uint64_t kind : answered) all += kind;
        return all;
    }
};

// The comments of the clients, looked for in the database.
struct CommentCheck {
    std::uint64_t acknowledged = 0;    // the site had confirmed them to the client
    std::uint64_t found_once = 0;      // of these
    std::uint64_t lost = 0;            // acknowledged, but absent
    std::uint64_t doubled = 0;         // tokens that stand in the database more than once
    std::uint64_t unacknowledged = 0;  // found, but never confirmed (a client gave up waiting)
    std::uint64_t foreign = 0;         // rows that no client of this load sent
    [[nodiscard]] bool good() const { return lost == 0 && doubled == 0 && foreign == 0; }
};

// One datagram of the UDP probe.
struct UdpPacket {
    Moment sent = {};
    double delay_ms = -1;          // there and back; negative: no echo came (yet)
    std::uint64_t duplicates = 0;  // echoes after the first
};

// Of the datagrams that were sent in a span of time, see summarise() in lab/udp_probe.h.
struct UdpResult {
    Moment begin;
    double seconds = 0;  // length of the span
    std::uint64_t sent = 0;
    std::uint64_t received = 0;    // of these, at least once
    std::uint64_t duplicates = 0;  // echoes after the first
    std::uint64_t reordered = 0;   // echoes that came after that of a later datagram
    LatencyHistogram delays;
    double mean_delay_ms = 0;
    // Interarrival jitter as RFC 3550, 6.4.1 has it, over the way there and back.
    double jitter_ms = 0;            // at the end
    double longest_jitter_ms = 0;    // at its worst
    double longest_gap_ms = 0;       // between two echoes one after the other
    std::vector<UdpPacket> packets;  // in the order of sending

    [[nodiscard]] std::uint64_t lost() const { return sent - received; }
    [[nodiscard]] double loss() const {  // share, 0 to 1
        return sent == 0 ? 0 : static_cast<double>(lost()) / static_cast<double>(sent);
    }
};

}  // namespace ferry::lab
