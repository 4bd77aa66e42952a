// `ferry restore` of a container's dump: its runtime makes it again, Ferry fills it.
#pragma once

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
};

// The images of engine.images_directory, which `images` was read from. When this returns the
// container runs, is its runtime's, and has announced its addresses. After an error nothing of it
// is left. Errors: container::Creation, handover::ArrivingNetwork and restore_from_images().
Result<restore::RestoreReport> restore_container(const ContainerImages& images,
                                                 const ContainerRestoreOptions& options);

}  // namespace ferry::migrate
