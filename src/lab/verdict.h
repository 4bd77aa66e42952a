// What a lab run must show, and whether a record shows it.
#pragma once

#include <string>
#include <vector>

#include "lab/run_record.h"

namespace ferry::lab {

enum class Standing { Aimed, Reached, Missed, NotMeasured };

struct Verdict {
    std::string figure;             // what, in words
    std::string reach, aim, paper;  // what is wanted, and what the paper has; empty: nothing
    std::string measured;           // empty where nothing was
    Standing standing = Standing::NotMeasured;
};

// One for each figure that is promised, always in the same order. Scenario "dirty" is not judged:
// what it shows is a choice, not a speed.
[[nodiscard]] std::vector<Verdict> judge(const LabRecord& record);

}  // namespace ferry::lab
