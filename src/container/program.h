// A program that is run to its end, and what it said. For this module's .cc files.
#pragma once

#include <chrono>
#include <string>

#include "base/error.h"
#include "os/fd.h"
#include "os/launch.h"

namespace ferry::container {

// runc makes a container in a fifth of a second; a loaded host may take its time.
inline constexpr std::chrono::seconds kProgramTimeout{60};

struct Finished {
    int status = 0;        // exit code, or 128 + signal
    std::string out, err;  // their first 4 KiB
};
// Limit: it has not ended within kProgramTimeout, and was killed.
Result<Finished> run_program(os::Launch launch);
// Its standard output. Peer, with the last line of what it said: it has failed.
Result<std::string> run_checked(os::Launch launch);
// The first 4 KiB of a file, whatever its position.
Result<std::string> begin_of(const os::UniqueFd& file);
// Of what a program says, its last line tells most.
[[nodiscard]] std::string last_line(std::string text);

}  // namespace ferry::container
