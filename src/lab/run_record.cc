#include "lab/run_record.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/check.h"
#include "lab/report_file.h"
#include "migrate/json_optional.h"
#include "os/fd.h"

namespace ferry::lab {
namespace {

template <class E>
struct Named {
    E value;
    const char* name;
    const char* unit = "";
};

constexpr Named<Method> kMethods[] = {{Method::Live, "live"}, {Method::Checkpoint, "checkpoint"}};

constexpr Named<PhaseKind> kPhases[] = {
    {PhaseKind::PreCopy, "pre-copy"},  {PhaseKind::Checkpoint, "checkpoint"},
    {PhaseKind::Transfer, "transfer"}, {PhaseKind::Restore, "restore"},
    {PhaseKind::Frozen, "frozen"},     {PhaseKind::Total, "total"}};

constexpr Named<Quantity> kQuantities[] = {
    {Quantity::HostMemory, "host memory", "bytes"},
    {Quantity::ContainerMemory, "container memory", "bytes"},
    {Quantity::Cpu, "cpu", "processors"},
    {Quantity::ReceiveRate, "received", "bytes/s"},
    {Quantity::SendRate, "sent", "bytes/s"},
    {Quantity::ReceivePackets, "packets received", "packets/s"},
    {Quantity::SendPackets, "packets sent", "packets/s"},
    {Quantity::Retransmissions, "retransmissions", "segments/s"},
    {Quantity::OpenFiles, "open files", "files"},
    {Quantity::Sockets, "sockets", "sockets"},
    {Quantity::Mappings, "mappings", "mappings"},
    {Quantity::Requests, "requests answered", "requests/s"},
    {Quantity::Throughput, "throughput", "bytes/s"},
    {Quantity::Delay, "delay", "ms"},
    {Quantity::ProbeDelay, "probe delay", "ms"},
    {Quantity::Jitter, "jitter", "ms"},
    {Quantity::ProbesLost, "probes lost", "packets/s"},
    {Quantity::FailedRequests, "failed requests", "requests/s"}};

template <class E, std::size_t N>
const Named<E>& entry_of(const Named<E> (&table)[N], E value) {
    const auto* found = std::find_if(std::begin(table), std::end(table),
                                     [&](const Named<E>& entry) { return entry.value == value; });
    CHECK(found != std::end(table));
    return *found;
}

// An unknown name is the exception that the library has for an unknown key.
template <class E, std::size_t N>
E value_of(const Named<E> (&table)[N], const nlohmann::json& json) {
    nlohmann::json indices;
    for (std::size_t i = 0; i < N; ++i) indices[table[i].name] = i;
    return table[indices.at(json.get<std::string>()).template get<std::size_t>()].value;
}

}  // namespace

const char* name_of(Method method) {
    return entry_of(kMethods, method).name;
}
const char* name_of(PhaseKind kind) {
    return entry_of(kPhases, kind).name;
}
const char* name_of(Quantity quantity) {
    return entry_of(kQuantities, quantity).name;
}
std::optional<Quantity> quantity_of(std::string_view name) {
    for (const auto& entry : kQuantities) {
        if (entry.name == name) return entry.value;
    }
    return std::nullopt;
}
const char* unit_of(Quantity quantity) {
    return entry_of(kQuantities, quantity).unit;
}

// For nlohmann/json, which finds these by argument-dependent lookup.
void to_json(nlohmann::json& json, Method method) {
    json = name_of(method);
}
void from_json(const nlohmann::json& json, Method& method) {
    method = value_of(kMethods, json);
}
void to_json(nlohmann::json& json, PhaseKind kind) {
    json = name_of(kind);
}
void from_json(const nlohmann::json& json, PhaseKind& kind) {
    kind = value_of(kPhases, json);
}
void to_json(nlohmann::json& json, Quantity quantity) {
    json = name_of(quantity);
}
void from_json(const nlohmann::json& json, Quantity& quantity) {
    quantity = value_of(kQuantities, json);
}

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ProgramVersion, program, version)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(MachineRecord, kernel, cpu, cpus, memory, date,
                                                versions)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(PlatformRecord, number, name, cpus, memory)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(SettingsRecord, command_line, service, runs,
                                                platforms, link_bits_per_second, link_delay_ms,
                                                requests_per_second, probes_per_second,
                                                sample_interval_ms, shared_storage)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(MemoryRecord, host, container)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(PhaseRecord, kind, platform, begin_ns, end_ns,
                                                memory_before, memory_after)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(RoundRecord, number, pages, bytes, dirty_bytes,
                                                milliseconds, in_freeze, dirty_rate, bandwidth,
                                                expected_frozen_ms, throttle)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(MethodEstimate, method, frozen_ms, total_ms,
                                                wire_bytes, remark)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(MethodChange, at_ns, after_round, from, to, reason,
                                                estimates)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(CountsRecord, processes, files, sockets, mappings)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(PlatformCounts, platform, before, after)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    ClientRecord, begin_ns, end_ns, requests, failed_requests, broken_connections,
    requests_per_second, bytes_per_second, delay_p50_ms, delay_p99_ms, delay_max_ms,
    longest_pause_ms, retransmissions, comments_acknowledged, comments_found_once, comments_lost,
    comments_doubled, probes_sent, probes_lost, probe_delay_p50_ms, probe_delay_max_ms, jitter_ms)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(CrossingRecord, number, from, to, containers,
                                                succeeded, error, stop_rule, phases, rounds,
                                                method_change, wire_bytes, predicted_frozen_ms,
                                                service_memory_before, service_memory_after, counts,
                                                clients)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Series, quantity, platform, subject, at_ns, values)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Mark, at_ns, text)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(RunRecord, scenario, method, number, succeeded,
                                                error, duration_ns, crossings, clients, series,
                                                marks)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(LabRecord, version, machine, settings, runs)

namespace {

// Names of files and sections are made of them.
constexpr std::string_view kScenarios[] = {"1", "2", "3", "4", "dirty"};

Result<> check_platform(int platform) {
    if (platform >= 0 && platform <= 2) return {};
    return fail(Error::corrupt(fmt::format("there is no platform {}", platform)));
}

Result<> check(const Series& series) {
    TRY(check_platform(series.platform));
    if (series.at_ns.size() != series.values.size()) {
        return fail(Error::corrupt(fmt::format("series {}: {} times and {} values",
                                               name_of(series.quantity), series.at_ns.size(),
                                               series.values.size())));
    }
    if (std::is_sorted(series.at_ns.begin(), series.at_ns.end())) return {};
    return fail(
        Error::corrupt(fmt::format("series {}: its times go back", name_of(series.quantity))));
}

Result<> check(const CrossingRecord& crossing) {
    TRY(check_platform(crossing.from));
    TRY(check_platform(crossing.to));
    for (const PhaseRecord& phase : crossing.phases) {
        TRY(check_platform(phase.platform));
        if (phase.end_ns < phase.begin_ns) {
            return fail(
                Error::corrupt(fmt::format("phase {} ends before it begins", name_of(phase.kind))));
        }
    }
    for (const PlatformCounts& counts : crossing.counts) TRY(check_platform(counts.platform));
    return {};
}

Result<> check(const LabRecord& record) {
    if (record.version != kRecordVersion) {
        return fail(Error::corrupt(
            fmt::format("version {} instead of {}", record.version, kRecordVersion)));
    }
    for (const RunRecord& run : record.runs) {
        if (std::find(std::begin(kScenarios), std::end(kScenarios), run.scenario) ==
            std::end(kScenarios)) {
            return fail(Error::corrupt("there is no scenario " + run.scenario));
        }
        for (const CrossingRecord& crossing : run.crossings) TRY(check(crossing));
        for (const Series& series : run.series) TRY(check(series));
    }
    return {};
}

}  // namespace

std::string to_json(const LabRecord& record) {
    return nlohmann::json(record).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<LabRecord> record_from_json(const std::string& text) {
    try {
        const nlohmann::json json = nlohmann::json::parse(text);
        // A document of something else must not pass for an empty record.
        if (!json.is_object() || !json.contains("version")) {
            return fail(Error::corrupt("lab record: no version"));
        }
        auto record = json.get<LabRecord>();
        TRY(with_context(check(record), "lab record"));
        return record;
    } catch (const nlohmann::json::exception& error) {
        return fail(Error::corrupt(std::string("lab record: ") + error.what()));
    }
}

Result<> save_record(const std::string& path, const LabRecord& record) {
    return write_text(path, to_json(record) + "\n");
}

Result<LabRecord> load_record(const std::string& path) {
    return with_context(record_from_json(TRY(os::read_file(path))), path);
}

}  // namespace ferry::lab
