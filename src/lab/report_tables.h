// The tables of a scenario in the report.
#pragma once

#include <string>

#include "lab/paper.h"
#include "lab/run_record.h"

namespace ferry::lab {

// Host memory and time of checkpoint and restore on each platform: the paper's, and ours by both
// methods. The paper's own table.
[[nodiscard]] std::string paper_table(const LabRecord& record, const ScenarioText& scenario);
// What each crossing took, phase by phase.
[[nodiscard]] std::string crossings_table(const LabRecord& record, const ScenarioText& scenario);
// What the service and Ferry took of each platform's processors while it crossed.
[[nodiscard]] std::string cpu_table(const LabRecord& record, const ScenarioText& scenario);
[[nodiscard]] std::string clients_table(const LabRecord& record, const ScenarioText& scenario);
// Open files, sockets, mappings before and after: the paper's Table 1.
[[nodiscard]] std::string counts_table(const LabRecord& record, const ScenarioText& scenario);
[[nodiscard]] std::string rounds_table(const CrossingRecord& crossing);
[[nodiscard]] std::string estimates_table(const MethodChange& change);

}  // namespace ferry::lab
