// The part of the report that is about one scenario: its tables beside the paper's figures and its
// timelines, both methods side by side; for "dirty" the rounds and the change of method.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lab/paper.h"
#include "lab/plot.h"
#include "lab/run_record.h"

namespace ferry::lab {

// Drawn plots by their names.
using Drawings = std::map<std::string, std::string>;

// The plots that scenario_section() will ask for.
[[nodiscard]] std::vector<Plot> scenario_plots(const LabRecord& record,
                                               const ScenarioText& scenario);
// HTML; empty if the record has no run of the scenario.
[[nodiscard]] std::string scenario_section(const LabRecord& record, const ScenarioText& scenario,
                                           const Drawings& drawings);

}  // namespace ferry::lab
