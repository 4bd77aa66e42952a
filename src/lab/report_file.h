// A JSON report for scripts, beside what is printed for people.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/error.h"

namespace ferry::lab {

// Makes the directory where it is missing, replaces the file.
Result<> write_report(const std::string& path, const nlohmann::json& report);

}  // namespace ferry::lab
