#include "lab/sample_record.h"

#include <cmath>

namespace ferry::lab {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kMillisecond = 1'000'000;
constexpr std::uint64_t kMib = 1u << 20;

SettingsRecord settings() {
    SettingsRecord settings;
    settings.command_line = "invented for tests <&>";
    settings.service = "invented service";
    settings.runs = 1;
    settings.platforms = {{1, "platform1", 1.0, 1024 * kMib}, {2, "platform2", 2.0, 2048 * kMib}};
    settings.link_bits_per_second = 1e9;
    settings.link_delay_ms = 0.5;
    settings.requests_per_second = 50;
    settings.probes_per_second = 100;
    settings.sample_interval_ms = 100;
    settings.shared_storage = true;
    return settings;
}

ClientRecord clients(std::int64_t begin, std::int64_t end) {
    return {.begin_ns = begin,
            .end_ns = end,
            .requests = 1000,
            .failed_requests = 0,
            .broken_connections = 0,
            .requests_per_second = 50,
            .bytes_per_second = 1.5e6,
            .delay_p50_ms = 12.5,
            .delay_p99_ms = 31,
            .delay_max_ms = 61,
            .longest_pause_ms = 48,
            .retransmissions = 1,
            .comments_acknowledged = 77,
            .comments_found_once = 77,
            .comments_lost = 0,
            .comments_doubled = 0,
            .probes_sent = 2000,
            .probes_lost = 3,
            .probe_delay_p50_ms = 0.2,
            .probe_delay_max_ms = 40,
            .jitter_ms = 0.05};
}

PhaseRecord phase(PhaseKind kind, int platform, std::int64_t begin_ms, std::int64_t end_ms) {
    return {kind,
            platform,
            begin_ms * kMillisecond,
            end_ms * kMillisecond,
            {300 * kMib, 150 * kMib},
            {280 * kMib, 140 * kMib}};
}

CrossingRecord crossing(int number, int from, int to, Method method, std::int64_t at_ms) {
    CrossingRecord record;
    record.number = number;
    record.from = from;
    record.to = to;
    record.containers = {"site"};
    record.succeeded = true;
    const bool live = method == Method::Live;
    const std::int64_t precopy = live ? 1500 : 0, frozen = live ? 40 : 900;
    const std::int64_t stop = at_ms + precopy;
    record.phases = {phase(PhaseKind::Total, 0, at_ms, stop + frozen + 10),
                     phase(PhaseKind::Frozen, 0, stop, stop + frozen),
                     phase(PhaseKind::Checkpoint, from, stop, stop + frozen / 3),
                     phase(PhaseKind::Transfer, 0, stop + frozen / 3, stop + frozen / 2),
                     phase(PhaseKind::Restore, to, stop + frozen / 2, stop + frozen)};
    if (live) {
        record.phases.push_back(phase(PhaseKind::PreCopy, 0, at_ms, stop));
        record.stop_rule = "what is left fits the pause allowed";
        record.rounds = {{1, 38400, 150 * kMib, 20 * kMib, 1300, false, 16e6, 118e6, 178, 0},
                         {2, 5120, 20 * kMib, 2 * kMib, 180, false, 11e6, 117e6, 26, 0.2},
                         {3, 512, 2 * kMib, std::nullopt, 20, true, std::nullopt, 105e6,
                          std::nullopt, std::nullopt}};
        record.predicted_frozen_ms = 35;
    }
    record.wire_bytes = 180 * kMib;
    record.service_memory_before = 150 * kMib;
    record.service_memory_after = 151 * kMib;
    record.counts = {{from, CountsRecord{12, 340, 40, 2100}, CountsRecord{0, 0, 0, 0}},
                     {to, CountsRecord{0, 0, 0, 0}, CountsRecord{12, 340, 40, 2100}}};
    record.clients = clients(at_ms * kMillisecond, (stop + frozen + 1000) * kMillisecond);
    return record;
}

Series series(Quantity quantity, int platform, const char* subject, double base, double swing) {
    Series made{quantity, platform, subject, {}, {}};
    for (int i = 0; i < 120; ++i) made.add(i * kSecond / 10, base + swing * std::sin(i / 7.0));
    return made;
}

RunRecord run(const char* scenario, Method method) {
    RunRecord record;
    record.scenario = scenario;
    record.method = method;
    record.number = 1;
    record.succeeded = true;
    record.duration_ns = 12 * kSecond;
    record.crossings = {crossing(1, 1, 2, method, 3000), crossing(2, 2, 1, method, 7500)};
    record.clients = clients(0, 12 * kSecond);
    record.series = {series(Quantity::HostMemory, 1, "host", 3e8, 2e7),
                     series(Quantity::HostMemory, 2, "host", 2e8, 3e7),
                     series(Quantity::ContainerMemory, 1, "site", 1.5e8, 1e6),
                     series(Quantity::Cpu, 1, "site", 0.4, 0.2),
                     series(Quantity::Cpu, 1, "ferryd", 0.2, 0.1),
                     series(Quantity::SendRate, 1, "eth0", 6e7, 5e7),
                     series(Quantity::Throughput, 0, "client", 1.5e6, 2e5),
                     series(Quantity::Delay, 0, "client", 14, 4),
                     series(Quantity::ProbeDelay, 0, "client", 0.3, 0.1)};
    record.marks = {{2 * kSecond, "the load has settled"}};
    return record;
}

RunRecord dirty_run() {
    RunRecord record = run("dirty", Method::Live);
    record.crossings.resize(1);
    record.crossings[0].method_change =
        MethodChange{4 * kSecond,
                     2,
                     "pre-copy",
                     "stop-and-copy",
                     "memory is dirtied faster than the link carries it",
                     {{"pre-copy", std::nullopt, std::nullopt, std::nullopt, "does not end"},
                      {"stop-and-copy", 1300, 1320, 150 * kMib, ""},
                      {"post-copy", 30, 1500, 150 * kMib, "pages are fetched while it runs"}}};
    return record;
}

}  // namespace

LabRecord sample_record_for_tests() {
    LabRecord record;
    record.machine = {
        "6.18.0-invented", "Invented CPU",         2,
        4096 * kMib,       "2026-01-01T00:00:00Z", {{"ferry", "0.1.0"}, {"runc", "1.1.5"}}};
    record.settings = settings();
    record.runs = {run("3", Method::Live), run("3", Method::Checkpoint), dirty_run()};
    return record;
}

}  // namespace ferry::lab
