// What a migration did, as figures: filled in by the source session, printed by the CLI, kept in
// the history, read by scripts. Times are milliseconds, sizes bytes, unless the name says
// otherwise.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace ferry::migrate {

// One round of pre-copy; the last one (in_freeze) is the stop-and-copy.
struct Round {
    int number = 0;  // from 1
    std::uint64_t pages = 0;
    std::uint64_t bytes = 0;       // of page content that crossed
    std::uint64_t zero_pages = 0;  // found to be zero, not sent
    // Written again by the end of the round; absent where nobody looked: after the last pass before
    // the freeze, and in it.
    std::optional<std::uint64_t> dirty_bytes = {};
    double milliseconds = 0;
    bool in_freeze = false;
    double bandwidth = 0;             // bytes per second, as the rules used it
    double expected_downtime_ms = 0;  // of a freeze right after this round
    double throttle = 0;              // share of the round that the tree was made to stand still

    [[nodiscard]] std::optional<double> dirty_rate() const {  // bytes per second
        if (!dirty_bytes || milliseconds <= 0) return std::nullopt;
        return static_cast<double>(*dirty_bytes) * 1000.0 / milliseconds;
    }
};

// Open files, sockets and mappings of all processes of the tree.
struct ObjectCounts {
    std::uint64_t processes = 0, threads = 0, files = 0, sockets = 0, mappings = 0;
};

struct Report {
    std::string session;
    std::string service;  // name or pid as the user gave it
    std::string source, destination;
    std::string method = "live";  // or "checkpoint"
    bool succeeded = false;
    std::string error;      // one line; empty on success
    std::string stop_rule;  // which rule ended the pre-copy, in words
    std::vector<Round> rounds;
    std::uint64_t wire_bytes = 0;
    double total_ms = 0;
    double precopy_ms = 0;     // until the freeze
    double frozen_ms = 0;      // the source's first task stopped -> the destination's tasks run
    double checkpoint_ms = 0;  // in the freeze: stop, last pages, kernel state read and sent
    double transfer_ms = 0;    // method checkpoint: image files on their way
    double restore_ms = 0;     // at the destination: final state received -> everything ready
    double commit_ms = 0;      // the decision, and the destination's tasks running
    double predicted_downtime_ms = 0;
    double max_downtime_ms = 0;
    bool fits_downtime = false;     // the prediction at the end of the pre-copy
    std::string on_no_convergence;  // what was chosen for the case that it does not
    std::uint64_t memory_before = 0,
                  memory_after = 0;  // resident bytes of the tree, source and destination
    ObjectCounts objects_before, objects_after;
    std::uint64_t files_compared = 0;  // of a container's files, each time that one was read
    std::uint64_t file_bytes = 0;      // of their content that crossed
    double files_ms = 0;               // the first look at all of them
    double files_frozen_ms = 0;        // in the freeze
    std::uint64_t held_packets = 0;    // arrived in the freeze, delivered at the destination
    std::uint64_t worker_memory_peak_source = 0, worker_memory_peak_destination = 0;

    [[nodiscard]] double bytes_per_second() const {
        return total_ms > 0 ? static_cast<double>(wire_bytes) * 1000.0 / total_ms : 0;
    }
};

// One JSON object, keys as the fields are named.
[[nodiscard]] std::string to_json(const Report& report);
[[nodiscard]] Result<Report> report_from_json(const std::string& text);

}  // namespace ferry::migrate
