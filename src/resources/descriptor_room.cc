#include "resources/descriptor_room.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>

#include "os/fd.h"
#include "os/process.h"

namespace ferry::resources {

Result<> make_room_for_descriptors(std::size_t expected) {
    constexpr Pid kOurselves{0};  // prlimit(2)
    constexpr std::size_t kLeast = 4096;
    struct rlimit64 limit = TRY(os::prlimit(kOurselves, RLIMIT_NOFILE));
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        TRY(os::set_prlimit(kOurselves, RLIMIT_NOFILE, limit));
    }
    const std::uint64_t room = std::min<std::uint64_t>(std::max(expected, kLeast), limit.rlim_cur);
    const os::UniqueFd any = TRY(os::open("/", O_PATH));
    // The highest of them, for a moment: the table never shrinks.
    const auto highest = os::fcntl(any.get(), F_DUPFD_CLOEXEC, room - 1);
    if (!highest && highest.error().code() == EMFILE) return {};  // it is in use already
    const os::UniqueFd closed(TRY(highest));
    return {};
}

}  // namespace ferry::resources
