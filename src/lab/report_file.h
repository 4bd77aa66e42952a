// Files that the lab writes for people and for scripts.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/error.h"

namespace ferry::lab {

// Both make the directory where it is missing, and replace the file.
Result<> write_report(const std::string& path, const nlohmann::json& report);
Result<> write_text(const std::string& path, std::string_view text);

}  // namespace ferry::lab
