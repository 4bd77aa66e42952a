// The demo: a live Redis crosses to the other platform and back while clients write to it, and is
// then shown to have lost nothing.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace ferry::lab {

struct DemoOptions {
    std::uint64_t mib = 512;
    double writes_per_second = 5000;
    std::string json_path;  // empty: no report file
};

// Prints what happens; the value tells whether everything that is promised was found true. Call it
// from the main thread of a program that has no other threads yet.
Result<bool> run_demo(const DemoOptions& options);

}  // namespace ferry::lab
