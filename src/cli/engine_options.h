// The options that `ferry dump` and `ferry restore` share, CRIU's names and meanings.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/log_file.h"
#include "dump/source_tree.h"
#include "os/fd.h"

namespace CLI {
class App;
}

namespace ferry::cli {

struct EngineOptions {
    std::string images_directory = ".";
    std::string work_directory;  // empty: the images directory
    std::string log_file;
    int verbosity = kDefaultVerbosity;
    std::string pidfile;
    bool tcp_established = false;
    bool shell_job = false;
    bool external_unix = false;
    bool file_locks = false;
    std::uint64_t ghost_bytes_max = resources::kGhostBytesDefault;
    bool leave_stopped = false;
    std::string manage_cgroups;  // a mode; empty: not asked for
    std::string network_lock = "nftables";
    std::string root = "/";
    double timeout_seconds = 10;
    // Options of CRIU that were given and that Ferry does not have: refused by name.
    std::vector<std::string> refused;
};

// Adds them to a verb, with those of CRIU's other options that change nothing here, and those that
// are refused because leaving them out would change the result.
void add_engine_options(CLI::App& verb, const std::shared_ptr<EngineOptions>& options);

// The directories and the log are open.
struct Workplace {
    os::UniqueFd work_directory;
};

// Invalid for a refused option; an error that says why if a directory or the log cannot be opened.
Result<Workplace> open_workplace(const EngineOptions& options);

// Writes pid into the pidfile, if there is to be one.
Result<> write_pidfile(const EngineOptions& options, const Workplace& place, pid_t pid);

}  // namespace ferry::cli
