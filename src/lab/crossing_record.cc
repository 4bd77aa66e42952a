#include "lab/crossing_record.h"

#include "migrate/session.h"

namespace ferry::lab {
namespace {

std::int64_t to_ns(double milliseconds) {
    return static_cast<std::int64_t>(milliseconds * 1e6);
}

CountsRecord counts_of(const migrate::ObjectCounts& objects) {
    return {objects.processes, objects.files, objects.sockets, objects.mappings};
}

std::vector<PhaseRecord> phases_of(const migrate::Report& report, const CrossingPlace& place) {
    std::vector<PhaseRecord> phases;
    const auto add = [&](PhaseKind kind, int platform, std::int64_t begin, double milliseconds) {
        PhaseRecord phase;
        phase.kind = kind;
        phase.platform = platform;
        phase.begin_ns = begin;
        phase.end_ns = begin + to_ns(milliseconds);
        phases.push_back(phase);
    };
    const std::int64_t begin = place.ended_ns - to_ns(report.total_ms);
    add(PhaseKind::Total, 0, begin, report.total_ms);
    // What a migration that failed did not come to is not recorded.
    const bool is_live = report.method == migrate::name_of(migrate::Method::Live);
    if (report.precopy_ms > 0 && is_live) add(PhaseKind::PreCopy, 0, begin, report.precopy_ms);
    if (report.frozen_ms <= 0) return phases;
    const std::int64_t freeze = begin + to_ns(report.precopy_ms);
    add(PhaseKind::Frozen, 0, freeze, report.frozen_ms);
    add(PhaseKind::Checkpoint, place.from, freeze, report.checkpoint_ms);
    const std::int64_t sent = freeze + to_ns(report.checkpoint_ms);
    if (report.transfer_ms > 0) add(PhaseKind::Transfer, 0, sent, report.transfer_ms);
    add(PhaseKind::Restore, place.to, sent + to_ns(report.transfer_ms), report.restore_ms);
    return phases;
}

}  // namespace

CrossingRecord crossing_record(const migrate::Report& report, const CrossingPlace& place) {
    CrossingRecord record;
    record.number = place.number;
    record.from = place.from;
    record.to = place.to;
    record.containers = place.containers;
    record.succeeded = report.succeeded;
    record.error = report.error;
    record.stop_rule = report.stop_rule;
    record.phases = phases_of(report, place);
    for (const migrate::Round& round : report.rounds) {
        RoundRecord kept;
        kept.number = round.number;
        kept.pages = round.pages;
        kept.bytes = round.bytes;
        kept.dirty_bytes = round.dirty_bytes;
        kept.milliseconds = round.milliseconds;
        kept.in_freeze = round.in_freeze;
        if (!round.in_freeze && round.bandwidth > 0) {
            kept.bandwidth = round.bandwidth;
            kept.expected_frozen_ms = round.expected_downtime_ms;
            kept.throttle = round.throttle;
        }
        record.rounds.push_back(kept);
    }
    record.wire_bytes = report.wire_bytes;
    if (!report.succeeded) return record;
    record.predicted_frozen_ms = report.predicted_downtime_ms;
    // The tree is at one place at a time.
    record.counts = {{place.from, counts_of(report.objects_before), CountsRecord{}},
                     {place.to, CountsRecord{}, counts_of(report.objects_after)}};
    return record;
}

}  // namespace ferry::lab
