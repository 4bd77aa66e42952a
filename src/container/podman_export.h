// At the source: what Podman says of one of its containers, by a checkpoint that is none.
#pragma once

#include <string>

#include "base/error.h"
#include "container/config.h"
#include "container/podman.h"
#include "container/streams.h"

namespace ferry::container {

// The container runs on and Podman goes on controlling it. Nothing of it is left behind but that
// Podman knows of the export. Unsupported, by name: Ferry does not carry such a container.
Result<PodmanRecord> export_from_podman(const Monitor& monitor, const Config& config,
                                        const std::string& bundle);

// Until what the container wrote has reached its log, as far as its monitor does not hang. The
// container stands still.
Result<> await_log(const Monitor& monitor, const StreamLinks& streams);

}  // namespace ferry::container
