#include "resources/inotify.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

#include <array>
#include <cerrno>
#include <optional>

#include "os/inotify.h"
#include "proc/mounts.h"

namespace ferry::resources {
namespace {

using model::InotifyWatch;

// What fdinfo shows and inotify_add_watch(2) takes.
constexpr std::uint32_t kMask = IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK;
// The path is the file itself; two watches of one file would be one.
constexpr std::uint32_t kHow = IN_DONT_FOLLOW | IN_MASK_CREATE;
// A watch's number is reached by making and removing those before it, some microseconds each.
constexpr int kNumberMax = 1 << 16;
// The kernel's own form of a device number (linux/kdev_t.h).
constexpr unsigned kMinorBits = 20;

bool is_mount_of(const proc::Mount& mount, std::uint32_t device) {
    return mount.device_major == device >> kMinorBits &&
           mount.device_minor == (device & ((1u << kMinorBits) - 1));
}

// Where the handle leads on this mount; nothing if it does not, or to a file that has no name
// there.
std::optional<std::string> path_on(const std::string& mount_point, const std::string& root,
                                   const InotifyWatch& watch) {
    const auto mount = os::open(root + mount_point, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (!mount) return std::nullopt;
    const auto file = os::open_by_handle(mount->get(), watch.handle_type, watch.handle);
    if (!file) return std::nullopt;
    const auto path = os::readlinkat(os::kCwd, fmt::format("/proc/self/fd/{}", file->get()));
    if (!path) return std::nullopt;
    const auto status = os::fstatat(os::kCwd, root + *path, AT_SYMLINK_NOFOLLOW);
    if (!status || status->st_ino != watch.inode) return std::nullopt;
    return *path;
}

Result<std::vector<proc::Mount>> mounts_of(const std::string& process) {
    return proc::parse_mounts(TRY(os::read_file(fmt::format("/proc/{}/mountinfo", process))));
}

// Empty: no mount of its file system has it under a name.
std::string find_path(const std::vector<proc::Mount>& mounts, const std::string& root,
                      const InotifyWatch& watch) {
    for (const proc::Mount& mount : mounts) {
        if (!is_mount_of(mount, watch.device)) continue;
        if (auto path = path_on(mount.point, root, watch)) return *path;
    }
    return {};
}

Result<> add_watch(int inotify, const InotifyWatch& watch) {
    if (watch.number > kNumberMax) {
        return fail(Error::limit(fmt::format("number {} of a watch", watch.number)));
    }
    // CRIU's images may have the handle only.
    const std::string path =
        watch.path.empty() ? find_path(TRY(mounts_of("self")), "", watch) : watch.path;
    for (;;) {
        const int number = TRY(os::inotify_add_watch(inotify, path, (watch.mask & kMask) | kHow));
        if (number == watch.number) return {};
        TRY(os::inotify_rm_watch(inotify, number));
        // The kernel counts up (inotify_add_to_idr).
        if (number > watch.number) {
            return fail(Error::corrupt(fmt::format("number {} of a watch is taken", watch.number)));
        }
    }
}

// Each watch that was removed has left an event.
Result<> drop_events(int inotify) {
    std::array<std::byte, 64 * 1024> events;
    for (;;) {
        const auto read = os::read(inotify, events);
        if (!read && read.error().code() == EAGAIN) return {};
        if (!read) return fail(read.error());
    }
}

}  // namespace

Result<model::Inotify> read_inotify(const Slot& slot, const std::string& root) {
    model::Inotify inotify = {.watches = slot.info.watches};
    if (inotify.watches.empty()) return inotify;
    const auto mounts = TRY(mounts_of(fmt::format("{}", slot.holder.pid)));
    for (InotifyWatch& watch : inotify.watches) {
        watch.path = find_path(mounts, root, watch);
        if (!watch.path.empty()) continue;
        return refuse(slot.holder,
                      fmt::format("an inotify descriptor whose watch {} is of inode {} of device "
                                  "{:#x}, which has no path: remove the watch",
                                  watch.number, watch.inode, watch.device));
    }
    return inotify;
}

Result<bool> has_events(int copy) {
    int bytes = 0;
    TRY(os::ioctl(copy, FIONREAD, &bytes));
    return bytes > 0;
}

Result<os::UniqueFd> open_inotify(const model::Inotify& inotify) {
    os::UniqueFd opened = TRY(os::inotify_init());
    for (const InotifyWatch& watch : inotify.watches) {
        TRY(with_context(add_watch(opened.get(), watch), "inotify"));
    }
    TRY(drop_events(opened.get()));
    return opened;
}

}  // namespace ferry::resources
