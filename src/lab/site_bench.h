// `ferry lab bench --site`: how long it takes to bring the lab's site into image files and back,
// paired with runc and CRIU on the same site where a criu is given.
#pragma once

#include <string>

#include "base/error.h"

namespace ferry::lab {

struct SiteBenchOptions {
    int runs = 3;
    std::string criu;    // path of a criu program; empty: Ferry alone
    std::string bundle;  // "": the lab's own site, built where the cache lacks it
    std::string cache;
    std::string json_path;
};

// Prints a table; the value tells whether every site came back. In each run a site is started, is
// dumped and restored by Ferry and answers again, and then is dumped and restored by runc with
// CRIU, which leaves its network down. The images lie in memory. From the main thread.
Result<bool> run_site_bench(const SiteBenchOptions& options);

}  // namespace ferry::lab
