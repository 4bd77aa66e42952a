// The report of a lab run, for a person: one HTML file that needs nothing from elsewhere, and
// beside it what scripts want.
//
//   DIR/report.html   DIR/record.json   DIR/samples.csv   DIR/plots/NAME.svg, NAME.png
#pragma once

#include <string>

#include "base/error.h"
#include "lab/run_record.h"

namespace ferry::lab {

// Renders whatever the record has: a run that failed or was cut short is reported as such. Replaces
// the files. Gives the path of the HTML file. Prints nothing; needs gnuplot.
Result<std::string> write_lab_report(const LabRecord& record, const std::string& directory);

// One line for each sample: scenario,method,run,quantity,unit,platform,subject,seconds,value
// (RFC 4180).
[[nodiscard]] std::string samples_csv(const LabRecord& record);

}  // namespace ferry::lab
