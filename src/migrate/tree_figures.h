// Figures of a process tree for the report: what its processes hold, as procfs shows it.
#pragma once

#include <cstdint>
#include <span>

#include "base/types.h"
#include "migrate/report.h"

namespace ferry::migrate {

struct TreeFigures {
    std::uint64_t resident_bytes = 0;  // sum of RSS: pages shared by fork count once per process
    ObjectCounts objects;
};

// Best effort: a process that ends meanwhile is left out. For display only, never for a decision.
[[nodiscard]] TreeFigures measure_tree(std::span<const Pid> pids);
// VmHWM of the calling process, in bytes.
[[nodiscard]] std::uint64_t own_memory_peak();

}  // namespace ferry::migrate
