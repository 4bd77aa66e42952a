// Samples as lines of text, so that a sampler can run on another machine: `ferry lab sample` there
// prints them over ssh's standard output, remote_sampler.h reads them.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/error.h"
#include "lab/run_record.h"

namespace ferry::lab {

struct SampleLinesOptions {
    std::string runtime_root;             // of runc
    std::vector<std::string> containers;  // that may be here, now or later
    std::string device;                   // whose traffic is counted
    std::chrono::milliseconds interval{100};
};

// Samples this machine, ferryd and the containers until standard input ends.
Result<> print_samples(const SampleLinesOptions& options);

struct SampleLine {
    Quantity quantity = Quantity::HostMemory;
    std::string subject;
    double value = 0;
    bool operator==(const SampleLine&) const = default;
};
// A JSON array of one line, without its end.
[[nodiscard]] std::string to_text(const SampleLine& line);
// Corrupt: anything else.
[[nodiscard]] Result<SampleLine> sample_line_from(const std::string& text);

}  // namespace ferry::lab
