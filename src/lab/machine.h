// The machine that a lab runs on, for its record.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lab/run_record.h"
#include "os/launch.h"

namespace ferry::lab {

// Kernel, processors, memory, and now as the date; no versions yet. What cannot be read stays
// empty.
[[nodiscard]] MachineRecord describe_machine();

// Ferry's and runc's versions, and those of the site's programs as far as they lie in this root of
// a container's files.
[[nodiscard]] std::vector<ProgramVersion> program_versions(const std::string& rootfs);

// What a program says of its version when it is started like this ("runc --version"), on stdout or
// stderr; "not there" if it cannot be started, "unknown" if it says no number.
[[nodiscard]] ProgramVersion ask_version(const std::string& program, os::Launch launch);

// The first word that looks like a version: "1.1.5+ds1" in "runc version 1.1.5+ds1". Empty: none.
[[nodiscard]] std::string find_version(std::string_view text);

}  // namespace ferry::lab
