#include "os/overlay.h"

#include <fcntl.h>
#include <sys/mount.h>

#include <cerrno>

#include "base/check.h"

namespace ferry::os {

Result<UniqueFd> open_layers(std::span<const std::string> layers) {
    CHECK(!layers.empty());
    // The kernel makes no overlay of one layer.
    if (layers.size() == 1) return open(layers.front(), O_RDONLY | O_DIRECTORY);
    const UniqueFd system(::fsopen("overlay", FSOPEN_CLOEXEC));
    if (!system) return fail(Error::system(errno, "fsopen(overlay)"));
    for (const std::string& layer : layers) {
        if (::fsconfig(system.get(), FSCONFIG_SET_STRING, "lowerdir+", layer.c_str(), 0) != 0) {
            return fail(Error::system(errno, "fsconfig(lowerdir+, " + layer + ")"));
        }
    }
    if (::fsconfig(system.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
        return fail(Error::system(errno, "fsconfig(overlay)"));
    }
    const UniqueFd mount(::fsmount(system.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY));
    if (!mount) return fail(Error::system(errno, "fsmount(overlay)"));
    // The mount's own descriptor is an O_PATH one.
    return openat(mount.get(), ".", O_RDONLY | O_DIRECTORY);
}

}  // namespace ferry::os
