// What one crossing was like, from all sides: Ferry's own report, the clients', the platforms'.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "lab/command.h"
#include "lab/load.h"
#include "migrate/report.h"

namespace ferry::lab {

struct PlatformFigures {
    std::uint64_t memory_bytes =
        0;                         // of its control group, or of its processes where there is none
    std::uint64_t open_files = 0;  // descriptors of its processes
};

struct Crossing {
    std::string from, to;
    migrate::Report report;
    LoadWindow clients;
    PlatformFigures from_before, from_after, to_before, to_after;
    std::size_t copies = 0;  // of the service, on both platforms, afterwards
};

// Of what `ferry migrate --json` printed; a command that printed none has failed, and the report
// says how.
[[nodiscard]] migrate::Report find_report(const CommandResult& result);
// The same of so many services that moved together, in the order of the command.
[[nodiscard]] std::vector<migrate::Report> find_reports(const CommandResult& result,
                                                        std::size_t services);

[[nodiscard]] nlohmann::json to_json(const Crossing& crossing);
[[nodiscard]] nlohmann::json to_json(const Verification& verification);
// The table for people; several lines, each with its line end.
[[nodiscard]] std::string describe(const Crossing& crossing);

// "512.0 MiB"
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);
// "1,234,567"
[[nodiscard]] std::string human_count(std::uint64_t count);

}  // namespace ferry::lab
