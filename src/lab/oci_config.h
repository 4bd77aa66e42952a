// The config.json of an OCI bundle (OCI runtime specification 1.0.2) for the lab's own site, and
// what is changed in any bundle's when it is run here.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/error.h"

namespace ferry::lab {

// For a root file system beside it in `rootfs`: the site's first process as root, with the
// capabilities its daemons need; namespaces pid, network, mount, ipc and uts of its own.
nlohmann::json site_config();
// The same for another service.
nlohmann::json service_config(const std::string& hostname, std::vector<std::string> arguments);

// What the place where a container runs decides. 0 and "": as the bundle has it.
struct ContainerLimits {
    std::string cgroups_path;
    std::uint64_t memory_bytes = 0;
    std::uint64_t processes = 0;
};
void set_limits(nlohmann::json& config, const ContainerLimits& limits);

// The config.json of a bundle. Error::Kind::Invalid if the directory is no bundle, naming what is
// missing.
Result<nlohmann::json> read_config(const std::string& bundle);

}  // namespace ferry::lab
