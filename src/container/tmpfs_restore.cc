#include "container/tmpfs_restore.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>

#include "container/tmpfs_archive.h"
#include "container/tmpfs_mount.h"
#include "os/file_tree.h"
#include "os/scope.h"
#include "proc/user_namespace.h"

namespace ferry::container {
namespace {

// A name in an open directory of a mount.
struct Place {
    const TmpfsMount* mount = nullptr;
    os::UniqueFd parent;
    std::string name;  // "." for the mount's own root
};

Result<> write_content(int fd, const TmpfsEntry& entry) {
    TRY(os::ftruncate(fd, 0));
    TRY(os::ftruncate(fd, entry.size));
    for (const Extent& extent : entry.extents) {
        TRY(os::pwrite_all(fd, os::as_bytes(extent.bytes), extent.offset));
    }
    return {};
}

class Restorer {
  public:
    explicit Restorer(std::vector<TmpfsMount> mounts) : mounts_(std::move(mounts)) {}

    Result<> apply(const TmpfsChange& change) {
        std::set<std::string> stays;
        for (const TmpfsEntry& entry : change.entries) stays.insert(entry.path);
        for (const std::string& path : change.cleared) {
            const Place place = TRY(locate(path));
            TRY(clear(place.parent.get(), path, place.mount->device, stays));
        }
        for (const std::string& path : change.removed) {
            const Place place = TRY(locate(path));
            if (TRY(look(place))) TRY(remove(place));
        }
        for (const TmpfsEntry& entry : change.entries) {
            TRY(with_context(make(entry), fmt::format("tmpfs: /{}", entry.path)));
        }
        // Making what is in a directory has changed its times.
        for (auto entry = change.entries.rbegin(); entry != change.entries.rend(); ++entry) {
            if (entry->kind != EntryKind::Directory) continue;
            const Place place = TRY(locate(entry->path));
            TRY(os::utimensat(place.parent.get(), place.name, entry->accessed, entry->modified));
        }
        return {};
    }

  private:
    Result<Place> locate(const std::string& path) const {
        const TmpfsMount* best = nullptr;
        for (const TmpfsMount& mount : mounts_) {
            const bool holds = path == mount.path || path.starts_with(mount.path + "/");
            if (holds && (best == nullptr || mount.path.size() > best->path.size())) best = &mount;
        }
        if (best == nullptr) {
            return fail(Error::corrupt(fmt::format("/{} is on no tmpfs of the container", path)));
        }
        Place place{.mount = best, .parent = {}, .name = "."};
        std::string directory = ".";
        if (path != best->path) {
            const std::string inside = path.substr(best->path.size() + 1);
            const auto slash = inside.rfind('/');
            place.name = inside.substr(slash == std::string::npos ? 0 : slash + 1);
            if (slash != std::string::npos) directory = inside.substr(0, slash);
        }
        place.parent = TRY(os::openat2(best->directory.get(), directory, O_RDONLY | O_DIRECTORY,
                                       RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV));
        return place;
    }

    // Removes what is not named in `stays`. What is mounted on something is left alone.
    Result<> clear(int directory, const std::string& path, dev_t device,
                   const std::set<std::string>& stays) {
        for (const std::string& name : TRY(os::list_directory(directory, "."))) {
            const struct stat status = TRY(os::fstatat(directory, name, AT_SYMLINK_NOFOLLOW));
            if (status.st_dev != device) continue;
            const std::string inside = fmt::format("{}/{}", path, name);
            if (!stays.contains(inside)) {
                TRY(files::remove_node(directory, name, device, files::DeviceCheck::Everything));
            } else if (S_ISDIR(status.st_mode)) {
                const os::UniqueFd child =
                    TRY(os::openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
                TRY(clear(child.get(), inside, device, stays));
            }
        }
        return {};
    }

    Result<> make(const TmpfsEntry& entry) {
        const Place place = TRY(locate(entry.path));
        if (entry.kind == EntryKind::HardLink) return make_link(place, entry);
        auto there = TRY(look(place));
        if (there && there->st_dev != place.mount->device) {
            return fail(Error::corrupt("something is mounted on it here"));
        }
        if (there && !TRY(files::is_same_node(place.parent.get(), place.name, *there, entry))) {
            TRY(remove(place));
            there.reset();
        }
        TRY(make_node(place, entry, there.has_value()));
        return files::set_attributes(place.parent.get(), place.name, entry);
    }

    static Result<std::optional<struct stat>> look(const Place& place) {
        return files::look(place.parent.get(), place.name);
    }

    static Result<> remove(const Place& place) {
        return files::remove_node(place.parent.get(), place.name, place.mount->device,
                                  files::DeviceCheck::Everything);
    }

    static Result<> make_node(const Place& place, const TmpfsEntry& entry, bool is_there) {
        const int parent = place.parent.get();
        if (entry.kind == EntryKind::File) {
            const int how = is_there ? O_NOFOLLOW : O_CREAT | O_EXCL;
            const os::UniqueFd file = TRY(os::openat(parent, place.name, O_WRONLY | how, 0600));
            return write_content(file.get(), entry);
        }
        if (is_there) return {};
        return files::make_node(parent, place.name, entry);
    }

    Result<> make_link(const Place& place, const TmpfsEntry& entry) const {
        const Place target = TRY(locate(entry.target));
        const auto file = TRY(look(target));
        if (!file || !S_ISREG(file->st_mode) || target.mount != place.mount) {
            return fail(Error::corrupt(fmt::format("there is no file /{}", entry.target)));
        }
        const auto there = TRY(look(place));
        if (there && there->st_ino == file->st_ino) return {};
        if (there) TRY(remove(place));
        return os::linkat(target.parent.get(), target.name, place.parent.get(), place.name);
    }

    std::vector<TmpfsMount> mounts_;
};

}  // namespace

Result<> restore_tmpfs(Pid init, const Config& config, std::string_view archive) {
    const TmpfsChange change = TRY(decode_tmpfs(archive));
    const os::UserScope root = TRY(os::UserScope::enter(TRY(proc::foreign_root(init))));
    return Restorer(TRY(open_own_tmpfs(init, config))).apply(change);
}

}  // namespace ferry::container
