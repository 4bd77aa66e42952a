#include "container/tmpfs_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>

#include "base/limits.h"
#include "container/mounts.h"
#include "container/tmpfs_archive.h"
#include "proc/process_directory.h"

namespace ferry::container {
namespace {

constexpr int kDepthMax = 128;

// Two words of a hash of everything that the archive says of the entry, but for the access time.
void digest(const TmpfsEntry& entry, std::uint64_t (&result)[2]) {
    const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                         &XXH3_freeState);
    XXH3_128bits_reset(state.get());
    const auto add = [&state](std::string_view text) {
        const std::uint64_t size = text.size();
        XXH3_128bits_update(state.get(), &size, sizeof size);
        XXH3_128bits_update(state.get(), text.data(), text.size());
    };
    add(fmt::format("{} {} {} {} {}.{} {} {}", static_cast<int>(entry.kind), entry.mode, entry.user,
                    entry.group, entry.modified.tv_sec, entry.modified.tv_nsec, entry.device,
                    entry.size));
    add(entry.target);
    for (const auto& [name, value] : entry.attributes) {
        add(name);
        add(value);
    }
    for (const Extent& extent : entry.extents) {
        add(std::to_string(extent.offset));
        add(extent.bytes);
    }
    const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
    result[0] = hash.low64;
    result[1] = hash.high64;
}

}  // namespace

// One pass over all mounts.
class TmpfsWalk {
  public:
    explicit TmpfsWalk(TmpfsSource& source) : source_(source) {}

    Result<TmpfsChange> run() {
        for (const TmpfsMount& mount : source_.mounts_) {
            mount_ = &mount;
            first_names_.clear();
            if (source_.first_) change_.cleared.push_back(mount.path);
            const struct stat root = TRY(os::fstat(mount.directory.get()));
            TRY(add(mount.directory.get(), ".", mount.path, root));
            TRY(directory(mount.directory.get(), mount.path, 0));
        }
        for (const auto& [path, known] : source_.known_) {
            const auto now = now_.find(path);
            if (now == now_.end() || is_another(known, now->second)) {
                change_.removed.push_back(path);
            }
        }
        std::ranges::reverse(change_.removed);  // what is in a directory before it
        source_.known_ = std::move(now_);
        source_.first_ = false;
        return std::move(change_);
    }

  private:
    // Another file by the same name is not the old one with other content: whoever has the old one
    // open keeps it. With a directory goes all that is in it, even if it was there before.
    static bool is_another(const TmpfsSource::Known& before, const TmpfsSource::Known& now) {
        if (before.is_directory && now.is_directory) return false;
        return before.inode != now.inode;
    }

    Result<> directory(int fd, const std::string& path, int depth) {
        if (depth > kDepthMax) return fail(Error::limit(fmt::format("/{} lies too deep", path)));
        std::vector<std::string> names = TRY(os::list_directory(fd, "."));
        std::ranges::sort(names);
        for (const std::string& name : names) {
            auto done = node(fd, name, fmt::format("{}/{}", path, name), depth);
            if (!done && !files::has_vanished(done.error())) return done;
        }
        return {};
    }

    Result<> node(int parent, const std::string& name, const std::string& path, int depth) {
        const struct stat status = TRY(os::fstatat(parent, name, AT_SYMLINK_NOFOLLOW));
        if (status.st_dev != mount_->device) return {};
        if (name.starts_with(".wh.")) {
            return fail(Error::unsupported(fmt::format("the file name /{}", path)));
        }
        TRY(add(parent, name, path, status));
        if (!S_ISDIR(status.st_mode)) return {};
        const os::UniqueFd child =
            TRY(os::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME));
        return directory(child.get(), path, depth + 1);
    }

    Result<> add(int parent, const std::string& name, const std::string& path,
                 const struct stat& status) {
        if (now_.size() == limits::kTmpfsEntriesMax) {
            return fail(Error::limit(
                fmt::format("more than {} files in tmpfs mounts", limits::kTmpfsEntriesMax)));
        }
        TmpfsEntry entry = TRY(read(parent, name, path, status));
        TmpfsSource::Known known{.is_directory = S_ISDIR(status.st_mode), .inode = status.st_ino};
        digest(entry, known.digest);
        const auto before = source_.known_.find(path);
        const bool changed = before == source_.known_.end() || before->second != known;
        now_.emplace(path, known);
        if (changed) change_.entries.push_back(std::move(entry));
        return {};
    }

    Result<TmpfsEntry> read(int parent, const std::string& name, const std::string& path,
                            const struct stat& status) {
        TmpfsEntry entry;
        static_cast<files::Node&>(entry) = TRY(files::read_node(parent, name, path, status));
        if (entry.kind != EntryKind::File) return entry;
        if (status.st_nlink > 1) {
            const auto [first, is_new] = first_names_.try_emplace(status.st_ino, path);
            if (!is_new) {
                entry.kind = EntryKind::HardLink;
                entry.target = first->second;
                entry.size = 0;
                entry.attributes.clear();
                return entry;
            }
        }
        TRY(read_content(parent, name, entry));
        return entry;
    }

    Result<> read_content(int parent, const std::string& name, TmpfsEntry& entry) {
        const os::UniqueFd file =
            TRY(os::openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME));
        const struct stat status = TRY(os::fstat(file.get()));
        entry.size = static_cast<std::uint64_t>(status.st_size);
        if (!S_ISREG(status.st_mode)) return fail(Error::system(ENOENT, entry.path));
        if (entry.size > limits::kTmpfsFileSizeMax) {
            return fail(
                Error::limit(fmt::format("tmpfs file /{} of {} bytes", entry.path, entry.size)));
        }
        for (const auto& [begin, end] : TRY(os::data_ranges(file.get(), entry.size))) {
            bytes_ += end - begin;
            if (bytes_ > limits::kTmpfsBytesMax) {
                return fail(Error::limit(
                    fmt::format("the tmpfs mounts hold more than {} bytes (counted up to /{})",
                                limits::kTmpfsBytesMax, entry.path)));
            }
            Extent extent{.offset = begin, .bytes = std::string(end - begin, '\0')};
            auto rest = std::as_writable_bytes(std::span(extent.bytes));
            while (!rest.empty()) {
                const std::size_t got = TRY(os::pread(file.get(), rest, end - rest.size()));
                if (got == 0) break;  // truncated meanwhile
                rest = rest.subspan(got);
            }
            entry.extents.push_back(std::move(extent));
        }
        return {};
    }

    TmpfsSource& source_;
    const TmpfsMount* mount_ = nullptr;
    TmpfsChange change_;
    std::map<std::string, TmpfsSource::Known> now_;
    std::map<ino_t, std::string> first_names_;  // of files with several
    std::uint64_t bytes_ = 0;
};

Result<TmpfsSource> TmpfsSource::open(const Container& container) {
    return TmpfsSource(TRY(open_own_tmpfs(container.state.init, container.config)));
}

Result<std::string> TmpfsSource::collect() {
    return encode_tmpfs(TRY(TmpfsWalk(*this).run()));
}

}  // namespace ferry::container
