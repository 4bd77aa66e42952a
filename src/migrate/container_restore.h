// `ferry restore` of a container's dump: its runtime makes it again, Ferry fills it.
#pragma once

#include <array>
#include <functional>
#include <string>

#include "base/error.h"
#include "handover/network_move.h"
#include "image/store.h"
#include "migrate/container_images.h"
#include "restore/from_images.h"

namespace ferry::migrate {

struct ContainerRestoreOptions {
    restore::RestoreOptions engine;
    std::string runtime_root;       // where its runtime keeps states here; empty: as at the source
    handover::Placement placement;  // of its network devices
    // As of container::CreationOptions.
    std::string output;
    std::array<int, 3> streams = {-1, -1, -1};
    std::string console_socket = {};
    std::function<Result<>(const os::UniqueFd& master)> take_console = {};
    // Any may be empty; an error ends the restore. The container is made, and nothing is in it;
    // everything is in it, and nothing of it runs. `root` is its first process.
    std::function<Result<>(Pid root)> on_made = {}, on_complete = {};
};

struct ContainerRestoreReport : restore::RestoreReport {
    Pid made_root;  // the first process as we see it
};

// The images of engine.images_directory, which `images` was read from. When this returns the
// container runs, is its runtime's, and has announced its addresses. After an error nothing of it
// is left. Errors: container::Creation, handover::ArrivingNetwork and restore_from_images().
Result<ContainerRestoreReport> restore_container(const ContainerImages& images,
                                                 const ContainerRestoreOptions& options);

}  // namespace ferry::migrate
