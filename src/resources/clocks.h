// CLOCK_MONOTONIC and CLOCK_BOOTTIME as a process sees them through its time namespace, and the
// namespace's offsets (time_namespaces(7), /proc/PID/timens_offsets, Linux 5.6).
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/types.h"
#include "model/clocks.h"

namespace ferry::resources {

// Ours, now.
Result<model::ClockTimes> clocks_now();

// Of the time namespace that the process's children get, which is its own unless it has made one
// for them. Zeros where the kernel has no time namespaces. Gone: no such process.
Result<model::ClockOffsets> clock_offsets_of(Pid pid);

// /proc/PID/timens_offsets: one line per clock, its name or number, seconds and nanoseconds.
Result<model::ClockOffsets> parse_clock_offsets(std::string_view text);
// What that file takes, as long as nobody is in the namespace.
[[nodiscard]] std::string clock_offsets_text(const model::ClockOffsets& offsets);

// `times` read where `from` is added to the kernel's clocks: what is read where `to` is.
[[nodiscard]] model::ClockTimes seen_through(const model::ClockTimes& times,
                                             const model::ClockOffsets& from,
                                             const model::ClockOffsets& to);

}  // namespace ferry::resources
