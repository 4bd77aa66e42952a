// What the link between two platforms carries, where nobody has said it.
#pragma once

#include <string>

#include "base/error.h"
#include "lab/display.h"
#include "lab/interrupt.h"
#include "lab/site_lab.h"

namespace ferry::lab {

// Bits per second of what Ferry sends, the larger of both ways: a service that nothing changes
// crosses to platform 2 and back, and the engine's own reports say how fast its memory went.
// `cache`: of bundles. Error::Kind::Peer if it does not cross. From the main thread.
Result<double> measure_link(const SiteLabOptions& lab, const std::string& cache,
                            InterruptGuard& guard, Display& display);

}  // namespace ferry::lab
