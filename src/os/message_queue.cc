#include "os/message_queue.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace ferry::os {

Result<UniqueFd> open_message_queues() {
    const UniqueFd system(::fsopen("mqueue", FSOPEN_CLOEXEC));
    if (!system) return fail(Error::system(errno, "fsopen(mqueue)"));
    if (::fsconfig(system.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
        return fail(Error::system(errno, "fsconfig(mqueue)"));
    }
    UniqueFd mount(::fsmount(system.get(), FSMOUNT_CLOEXEC, 0));
    if (!mount) return fail(Error::system(errno, "fsmount(mqueue)"));
    // The mount's own descriptor is an O_PATH one.
    return openat(mount.get(), ".", O_RDONLY | O_DIRECTORY);
}

}  // namespace ferry::os
