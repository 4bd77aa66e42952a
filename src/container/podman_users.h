// The ids of a container's user namespace that Podman has chosen by itself (--userns=auto).
//
// Podman takes a range that none of its containers has, out of those that are the user
// "containers"'s. While it imports one it would choose again; files and processes have the ids that
// it had, so it is told which to take, and asked to find them free.
//
// Source relied upon: podman-run(1) "--userns", subuid(5), containers-storage.conf(5)
// "root-auto-userns-user".
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace ferry::container {

// The configuration of a checkpoint (PodmanRecord::config), for an import that takes the same ids.
// One whose ids Podman has not chosen stays as it is. Corrupt.
Result<std::string> with_same_ids(std::string_view config);

// Where a host says whose ids are whose.
struct IdSources {
    std::string containers;  // containers.json of Podman's storage; it may be missing
    std::string users = "/etc/subuid", groups = "/etc/subgid";
    std::string storage = "/etc/containers/storage.conf";  // it may be missing, too
};
// Invalid, by name: ids that Podman has chosen at the source are another container's here, or none
// that Podman may choose.
Result<> check_ids(std::string_view config, const IdSources& here);

}  // namespace ferry::container
