#include "resources/descriptor_limit.h"

#include <sys/resource.h>

#include "os/process.h"

namespace ferry::resources {

Result<> raise_descriptor_limit() {
    constexpr Pid kOurselves{0};  // prlimit(2)
    struct rlimit64 limit = TRY(os::prlimit(kOurselves, RLIMIT_NOFILE));
    if (limit.rlim_cur >= limit.rlim_max) return {};
    limit.rlim_cur = limit.rlim_max;
    return os::set_prlimit(kOurselves, RLIMIT_NOFILE, limit);
}

}  // namespace ferry::resources
