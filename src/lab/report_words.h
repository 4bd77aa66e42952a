// What a record shows, in sentences.
#pragma once

#include <string>
#include <vector>

#include "lab/run_record.h"
#include "lab/verdict.h"

namespace ferry::lab {

// "Scenario III"; "Scenario dirty".
[[nodiscard]] std::string scenario_name(const std::string& scenario);
// What was done, in one or two sentences.
[[nodiscard]] std::string story(const LabRecord& record);
// What came of it; each a sentence, only such as the record has figures for.
[[nodiscard]] std::vector<std::string> findings(const LabRecord& record);
// What failed: runs and crossings, each with its reason.
[[nodiscard]] std::vector<std::string> failures(const LabRecord& record);
// The verdicts in one sentence.
[[nodiscard]] std::string summary(const std::vector<Verdict>& verdicts);

}  // namespace ferry::lab
