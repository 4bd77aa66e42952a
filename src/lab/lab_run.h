// `ferry lab run`: the paper's scenarios, run and measured, and their report.
//
//   1  one site, platform 1 to platform 2      3  one site, there and back
//   2  one site, platform 2 to platform 1      4  three sites together, there and back
//   dirty  a service that writes faster than the link carries (lab/dirty_run.h); what that is, is
//          measured where `lab` says no rate
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "lab/site_lab.h"

namespace ferry::lab {

struct LabRunOptions {
    std::vector<std::string> scenarios;            // "1" to "4", "dirty"
    std::vector<Method> methods = {Method::Live};  // of each scenario, one after the other
    int runs = 1;                                  // of each
    bool sequential = false;  // several sites move one after the other; otherwise as a group
    std::string bundle;       // "": the lab's own site, built where the cache lacks it
    std::string cache;        // of built sites
    std::string directory = "build/lab";  // gets the report
    SiteLabOptions lab;
    std::string command_line;  // for the report
};

// Runs everything, prints what happened, writes the report. False: something that was promised was
// not found true (a request that failed, a comment that was lost, a migration that failed); the
// report says what. An error: the lab itself could not be set up.
Result<bool> run_lab(const LabRunOptions& options);

}  // namespace ferry::lab
