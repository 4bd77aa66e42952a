#include "files/node.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "base/limits.h"

namespace ferry::files {
namespace {

mode_t type_of(NodeKind kind) {
    switch (kind) {
        case NodeKind::File:
        case NodeKind::HardLink:
            return S_IFREG;
        case NodeKind::Directory:
            return S_IFDIR;
        case NodeKind::Symlink:
            return S_IFLNK;
        case NodeKind::CharacterDevice:
            return S_IFCHR;
        case NodeKind::BlockDevice:
            return S_IFBLK;
        case NodeKind::Fifo:
            return S_IFIFO;
        case NodeKind::Socket:
            return S_IFSOCK;
    }
    return 0;
}

bool is_device(NodeKind kind) {
    return kind == NodeKind::CharacterDevice || kind == NodeKind::BlockDevice;
}

// True: something has changed.
Result<bool> set_extended_attributes(int parent, const std::string& name,
                                     const os::ExtendedAttributes& wanted) {
    const auto have = TRY(os::extended_attributes(parent, name));
    if (have == wanted) return false;
    for (const auto& attribute : have) {
        const bool stays = std::ranges::any_of(
            wanted, [&](const auto& other) { return other.first == attribute.first; });
        if (stays) continue;
        TRY(os::remove_extended_attribute(parent, name, attribute.first));
    }
    for (const auto& attribute : wanted) {
        TRY(os::set_extended_attribute(parent, name, attribute));
    }
    return true;
}

}  // namespace

std::optional<NodeKind> kind_of(mode_t mode) {
    switch (mode & S_IFMT) {
        case S_IFREG:
            return NodeKind::File;
        case S_IFDIR:
            return NodeKind::Directory;
        case S_IFLNK:
            return NodeKind::Symlink;
        case S_IFCHR:
            return NodeKind::CharacterDevice;
        case S_IFBLK:
            return NodeKind::BlockDevice;
        case S_IFIFO:
            return NodeKind::Fifo;
        case S_IFSOCK:
            return NodeKind::Socket;
        default:
            return std::nullopt;
    }
}

bool has_vanished(const Error& error) {
    const int code = error.code();
    return code == ENOENT || code == ENOTDIR || code == ELOOP || code == ESTALE;
}

bool stays_inside(std::string_view path) {
    if (path.empty() || path.size() > limits::kTreePathBytesMax) return false;
    while (true) {
        const auto slash = path.find('/');
        const std::string_view name = path.substr(0, slash);
        if (name.empty() || name == "." || name == "..") return false;
        if (name.find('\0') != std::string_view::npos) return false;
        if (slash == std::string_view::npos) return true;
        path.remove_prefix(slash + 1);
    }
}

SplitPath split(std::string_view path) {
    const auto slash = path.rfind('/');
    if (slash == std::string_view::npos) return {.directory = {}, .name = path};
    return {.directory = path.substr(0, slash), .name = path.substr(slash + 1)};
}

Result<Node> read_node(int parent, const std::string& name, const std::string& path,
                       const struct stat& status) {
    const auto kind = kind_of(status.st_mode);
    if (!kind) return fail(Error::unsupported(fmt::format("the type of /{}", path)));
    Node node;
    node.path = path;
    node.kind = *kind;
    node.mode = status.st_mode & 07777;
    node.user = status.st_uid;
    node.group = status.st_gid;
    node.accessed = status.st_atim;
    node.modified = status.st_mtim;
    if (is_device(*kind)) node.device = status.st_rdev;
    if (*kind == NodeKind::Symlink) node.target = TRY(os::readlinkat(parent, name));
    if (*kind == NodeKind::File) node.size = static_cast<std::uint64_t>(status.st_size);
    node.attributes = TRY(os::extended_attributes(parent, name));
    return node;
}

bool same_time(const timespec& a, const timespec& b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

Result<std::optional<struct stat>> look(int parent, const std::string& name) {
    const auto status = os::fstatat(parent, name, AT_SYMLINK_NOFOLLOW);
    if (status) return *status;
    if (status.error().code() == ENOENT) return std::nullopt;
    return fail(status.error());
}

Result<> remove_node(int parent, const std::string& name, dev_t device, DeviceCheck check) {
    const struct stat status = TRY(os::fstatat(parent, name, AT_SYMLINK_NOFOLLOW));
    const bool is_directory = S_ISDIR(status.st_mode);
    if (status.st_dev != device && (is_directory || check == DeviceCheck::Everything)) {
        return fail(Error::corrupt(fmt::format("something is mounted on {} here", name)));
    }
    if (!is_directory) return os::unlinkat(parent, name);
    const os::UniqueFd child = TRY(os::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    for (const std::string& inside : TRY(os::list_directory(child.get(), "."))) {
        TRY(remove_node(child.get(), inside, device, check));
    }
    return os::unlinkat(parent, name, AT_REMOVEDIR);
}

Result<bool> is_same_node(int parent, const std::string& name, const struct stat& there,
                          const Node& node) {
    if ((there.st_mode & S_IFMT) != type_of(node.kind)) return false;
    if (is_device(node.kind)) return there.st_rdev == node.device;
    if (node.kind != NodeKind::Symlink) return true;
    return TRY(os::readlinkat(parent, name)) == node.target;
}

Result<> make_node(int parent, const std::string& name, const Node& node) {
    if (node.kind == NodeKind::Directory) return os::mkdirat(parent, name, 0700);
    if (node.kind == NodeKind::Symlink) return os::symlinkat(node.target, parent, name);
    return os::mknodat(parent, name, type_of(node.kind) | 0600, node.device);
}

// In this order: a change of the owner takes away set-user-id and capabilities.
Result<> set_attributes(int parent, const std::string& name, const Node& node) {
    const struct stat there = TRY(os::fstatat(parent, name, AT_SYMLINK_NOFOLLOW));
    bool changed = there.st_uid != node.user || there.st_gid != node.group;
    if (changed) TRY(os::fchownat(parent, name, node.user, node.group));
    changed |= TRY(set_extended_attributes(parent, name, node.attributes));
    if (node.kind != NodeKind::Symlink && (changed || (there.st_mode & 07777) != node.mode)) {
        TRY(os::fchmodat(parent, name, node.mode));
        changed = true;
    }
    if (!changed && same_time(there.st_mtim, node.modified)) return {};
    return os::utimensat(parent, name, node.accessed, node.modified);
}

}  // namespace ferry::files
