// What a program can find out about the CPU it runs on, and then use for the rest of its life:
// instruction sets, by the names of /proc/cpuinfo. A program that has started on one CPU may only
// go on on another that has all of them.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace ferry::arch {

// Of the CPU this program runs on, as CPUID tells every program (Intel SDM volume 2, CPUID; AMD
// APM volume 3, appendix E); in the order of a fixed table. Only what instructions of user mode
// depend on.
[[nodiscard]] std::vector<std::string> cpu_features();

// Those of `wanted` that are not in `offered`, in the order of `wanted`. Names that this version
// does not know count like others.
[[nodiscard]] std::vector<std::string> missing_features(std::span<const std::string> wanted,
                                                        std::span<const std::string> offered);

}  // namespace ferry::arch
