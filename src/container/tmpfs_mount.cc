#include "container/tmpfs_mount.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/sysmacros.h>

#include "container/mounts.h"
#include "os/file_tree.h"
#include "proc/process_directory.h"

namespace ferry::container {

Result<os::UniqueFd> open_root(Pid pid) {
    return os::open(fmt::format("/proc/{}/root", pid), O_PATH | O_DIRECTORY);
}

Result<TmpfsMount> open_mount(int root, const proc::Mount& mount) {
    TmpfsMount opened{.path = mount.point.substr(1),
                      .device = ::makedev(mount.device_major, mount.device_minor),
                      .directory = {}};
    opened.directory = TRY(os::openat2(root, opened.path, O_RDONLY | O_DIRECTORY,
                                       RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS));
    if (TRY(os::fstat(opened.directory.get())).st_dev != opened.device) {
        return fail(
            Error::gone(fmt::format("{} is not mounted on {} any more", mount.type, mount.point)));
    }
    return opened;
}

Result<std::vector<TmpfsMount>> open_own_tmpfs(Pid pid, const Config& config) {
    const auto directory = TRY(proc::ProcessDirectory::open(pid));
    const auto mounts = TRY(proc::parse_mounts(TRY(directory.text("mountinfo"))));
    const os::UniqueFd root = TRY(open_root(pid));
    std::vector<TmpfsMount> opened;
    for (const proc::Mount& mount : own_tmpfs(mounts, config)) {
        opened.push_back(TRY(open_mount(root.get(), mount)));
    }
    return opened;
}

}  // namespace ferry::container
