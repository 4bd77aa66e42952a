// What a lab run measured, as plain values: filled in by whoever conducts the run, kept as JSON,
// turned into the report (report.h). Nothing here does I/O but the last two functions.
//
// One clock for everything: nanoseconds of CLOCK_MONOTONIC since the start of the run (RunClock),
// so that phases, samples and marks of all platforms can stand on one axis. Sizes are bytes, rates
// are per second, durations milliseconds where the name says so. A figure that was not measured is
// absent (std::nullopt), never 0: the report then shows a dash.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace ferry::lab {

// The version of the JSON form; a reader refuses any other.
inline constexpr int kRecordVersion = 1;

// std::chrono::steady_clock is CLOCK_MONOTONIC (libstdc++), hence comparable across processes.
class RunClock {
  public:
    RunClock() : start_(std::chrono::steady_clock::now()) {}
    [[nodiscard]] std::int64_t now_ns() const { return at_ns(std::chrono::steady_clock::now()); }
    [[nodiscard]] std::int64_t at_ns(std::chrono::steady_clock::time_point moment) const {
        return std::chrono::duration_cast<std::chrono::nanoseconds>(moment - start_).count();
    }

  private:
    std::chrono::steady_clock::time_point start_;
};

enum class Method { Live, Checkpoint };
[[nodiscard]] const char* name_of(Method method);  // "live", "checkpoint"

struct ProgramVersion {
    std::string program, version;  // "runc", "1.1.5"
    bool operator==(const ProgramVersion&) const = default;
};

// The machine or, with two real hosts, the one that conducted the run.
struct MachineRecord {
    std::string kernel;  // uname -r
    std::string cpu;     // its model name
    int cpus = 0;
    std::uint64_t memory = 0;
    std::string date;  // of the start, ISO 8601, UTC
    std::vector<ProgramVersion> versions;
    bool operator==(const MachineRecord&) const = default;
};

struct PlatformRecord {
    int number = 0;  // 1 or 2
    std::string name;
    std::optional<double> cpus;           // limit
    std::optional<std::uint64_t> memory;  // limit
    bool operator==(const PlatformRecord&) const = default;
};

struct SettingsRecord {
    std::string command_line;
    std::string service;  // "WordPress: nginx, PHP-FPM, MariaDB", or the bundle that was given
    int runs = 1;
    std::vector<PlatformRecord> platforms;
    std::optional<double> link_bits_per_second;
    std::optional<double> link_delay_ms;
    std::optional<double> requests_per_second;  // of the HTTP client
    std::optional<double> probes_per_second;    // of the UDP echo probe
    std::optional<double> sample_interval_ms;
    bool shared_storage = false;
    bool operator==(const SettingsRecord&) const = default;
};

// Phases of a crossing. Those of one crossing may overlap: Frozen spans Checkpoint, Transfer and
// Restore where the service stands still for them, Total spans everything.
enum class PhaseKind { PreCopy, Checkpoint, Transfer, Restore, Frozen, Total };
[[nodiscard]] const char* name_of(PhaseKind kind);  // "pre-copy", ...

// Memory of the host (MemTotal - MemAvailable; of the platform's control group where the platform
// is one) and of the service's containers on that platform.
struct MemoryRecord {
    std::optional<std::uint64_t> host, container;
    bool operator==(const MemoryRecord&) const = default;
};

struct PhaseRecord {
    PhaseKind kind = PhaseKind::Total;
    int platform = 0;  // where it happens: 1 or 2; 0: on both
    std::int64_t begin_ns = 0, end_ns = 0;
    MemoryRecord memory_before, memory_after;  // of that platform
    bool operator==(const PhaseRecord&) const = default;
    [[nodiscard]] double milliseconds() const {
        return static_cast<double>(end_ns - begin_ns) / 1e6;
    }
};

// One round of pre-copy; the last (in_freeze) is the stop-and-copy.
struct RoundRecord {
    int number = 0;  // from 1
    std::uint64_t pages = 0;
    std::uint64_t bytes = 0;                   // of page content that crossed
    std::optional<std::uint64_t> dirty_bytes;  // written again by the end of the round
    double milliseconds = 0;
    bool in_freeze = false;
    std::optional<double> dirty_rate;  // bytes per second, as the engine judged them
    std::optional<double> bandwidth;
    std::optional<double> expected_frozen_ms;  // of a stop-and-copy right after this round
    std::optional<double> throttle;  // share of the round that the service was made to stand still
    bool operator==(const RoundRecord&) const = default;
};

// What a method would have cost from the moment of the decision on.
struct MethodEstimate {
    std::string method;  // "pre-copy", "stop-and-copy", "post-copy"
    std::optional<double> frozen_ms, total_ms;
    std::optional<std::uint64_t> wire_bytes;
    std::string remark;  // "does not end", ...
    bool operator==(const MethodEstimate&) const = default;
};

// The engine gave one method up for another.
struct MethodChange {
    std::int64_t at_ns = 0;
    int after_round = 0;
    std::string from, to, reason;
    std::vector<MethodEstimate> estimates;
    bool operator==(const MethodChange&) const = default;
};

// The service's processes on one platform: the paper's Table 1.
struct CountsRecord {
    std::uint64_t processes = 0, files = 0, sockets = 0, mappings = 0;
    bool operator==(const CountsRecord&) const = default;
};

struct PlatformCounts {
    int platform = 0;
    std::optional<CountsRecord> before, after;  // the crossing
    bool operator==(const PlatformCounts&) const = default;
};

// The service as its clients see it, over a window of the run.
struct ClientRecord {
    std::int64_t begin_ns = 0, end_ns = 0;
    // HTTP
    std::optional<std::uint64_t> requests, failed_requests, broken_connections;
    std::optional<double> requests_per_second, bytes_per_second;
    std::optional<double> delay_p50_ms, delay_p99_ms, delay_max_ms;  // from the moment it was due
    std::optional<double> longest_pause_ms;  // of any client: no reply at all
    std::optional<std::uint64_t> retransmissions;
    std::optional<std::uint64_t> comments_acknowledged, comments_found_once, comments_lost,
        comments_doubled;
    // UDP echo
    std::optional<std::uint64_t> probes_sent, probes_lost;
    std::optional<double> probe_delay_p50_ms, probe_delay_max_ms;
    std::optional<double> jitter_ms;  // RFC 3550, section 6.4.1
    bool operator==(const ClientRecord&) const = default;
};

struct CrossingRecord {
    int number = 0;        // of the run, from 1
    int from = 0, to = 0;  // platforms
    std::vector<std::string> containers;
    bool succeeded = false;
    std::string error;      // one line; empty on success
    std::string stop_rule;  // what ended the pre-copy, in words
    std::vector<PhaseRecord> phases;
    std::vector<RoundRecord> rounds;
    std::optional<MethodChange> method_change;
    std::optional<std::uint64_t> wire_bytes;
    std::optional<double> predicted_frozen_ms;
    // Of the service itself: the proportional set sizes of its processes, so that what they share
    // counts once.
    std::optional<std::uint64_t> service_memory_before, service_memory_after;
    std::vector<PlatformCounts> counts;
    std::optional<ClientRecord> clients;  // from just before this crossing to just after
    bool operator==(const CrossingRecord&) const = default;
};

enum class Quantity {
    HostMemory,       // bytes
    ContainerMemory,  // bytes
    Cpu,              // processors busy: 1.5 is one and a half
    ReceiveRate,      // bytes per second, of a device
    SendRate,
    ReceivePackets,  // per second
    SendPackets,
    Retransmissions,  // segments per second
    OpenFiles,
    Sockets,
    Mappings,
    Requests,       // answered per second
    Throughput,     // bytes per second, as the client gets them
    Delay,          // ms, of HTTP requests
    ProbeDelay,     // ms, of the UDP echo
    Jitter,         // ms
    ProbesLost,     // per second
    FailedRequests  // per second
};
[[nodiscard]] const char* name_of(Quantity quantity);  // "host memory", ...
[[nodiscard]] std::optional<Quantity> quantity_of(std::string_view name);
[[nodiscard]] const char* unit_of(Quantity quantity);  // "bytes", "bytes/s", "ms", ...

// Samples of one quantity of one subject, in the order of time.
struct Series {
    Quantity quantity = Quantity::HostMemory;
    int platform = 0;     // 1 or 2; 0: of no platform (the client)
    std::string subject;  // "host", "site", "ferryd", "eth0", "client", ...
    std::vector<std::int64_t> at_ns;
    std::vector<double> values;  // as many

    void add(std::int64_t at, double value) {
        at_ns.push_back(at);
        values.push_back(value);
    }
    bool operator==(const Series&) const = default;
};

// Something worth a line in the timeline.
struct Mark {
    std::int64_t at_ns = 0;
    std::string text;
    bool operator==(const Mark&) const = default;
};

struct RunRecord {
    std::string scenario;  // "1" to "4", "dirty"
    Method method = Method::Live;
    int number = 0;          // of the runs of this scenario and method, from 1
    bool succeeded = false;  // everything that was promised was found true
    std::string error;       // one line; empty on success
    std::int64_t duration_ns = 0;
    std::vector<CrossingRecord> crossings;
    std::optional<ClientRecord> clients;  // over the whole run
    std::vector<Series> series;
    std::vector<Mark> marks;
    bool operator==(const RunRecord&) const = default;
};

struct LabRecord {
    int version = kRecordVersion;
    MachineRecord machine;
    SettingsRecord settings;
    std::vector<RunRecord> runs;
    bool operator==(const LabRecord&) const = default;
};

// One JSON object, keys as the fields are named; absent figures have no key.
[[nodiscard]] std::string to_json(const LabRecord& record);
// Corrupt: not JSON, a field of another type, another version, a series whose times and values do
// not match or whose times go back, a platform or a scenario that is none.
[[nodiscard]] Result<LabRecord> record_from_json(const std::string& text);

// Makes the directory where it is missing, replaces the file.
Result<> save_record(const std::string& path, const LabRecord& record);
Result<LabRecord> load_record(const std::string& path);

}  // namespace ferry::lab
