#include "migrate/report.h"

#include "migrate/json_optional.h"

namespace ferry::migrate {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Round, number, pages, bytes, zero_pages,
                                                dirty_bytes, milliseconds, in_freeze, bandwidth,
                                                expected_downtime_ms, throttle)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ObjectCounts, processes, threads, files, sockets,
                                                mappings)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    Report, session, service, source, destination, method, succeeded, error, stop_rule, rounds,
    wire_bytes, total_ms, precopy_ms, frozen_ms, checkpoint_ms, transfer_ms, restore_ms, commit_ms,
    predicted_downtime_ms, max_downtime_ms, fits_downtime, on_no_convergence, memory_before,
    memory_after, objects_before, objects_after, files_compared, file_bytes, files_ms,
    files_frozen_ms, held_packets, worker_memory_peak_source, worker_memory_peak_destination)

std::string to_json(const Report& report) {
    return nlohmann::json(report).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<Report> report_from_json(const std::string& text) {
    try {
        return nlohmann::json::parse(text).get<Report>();
    } catch (const nlohmann::json::exception& error) {
        return fail(Error::corrupt(std::string("migration report: ") + error.what()));
    }
}

}  // namespace ferry::migrate
