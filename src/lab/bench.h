// The measurements that Ferry is judged by, paired with CRIU in the same run where one is given.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"

namespace ferry::lab {

struct BenchOptions {
    std::vector<std::uint64_t> sizes_mib = {256, 1024, 2048, 4096};
    std::uint64_t dump_mib = 2048;  // of the process that is dumped and restored; 0: leave that out
    double writes_per_second = 5000;
    std::string criu;  // path of a criu program; empty: Ferry alone
    std::string json_path;
};

// Prints tables; the value tells whether every crossing kept every connection and every write. Call
// it from the main thread of a program that has no other threads yet.
Result<bool> run_bench(const BenchOptions& options);

}  // namespace ferry::lab
