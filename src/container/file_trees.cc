#include "container/file_trees.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "base/limits.h"
#include "container/json_access.h"
#include "container/tmpfs_mount.h"
#include "os/file_tree.h"
#include "proc/mounts.h"

namespace ferry::container {
namespace {

// File systems whose files are the kernel's own.
bool is_made_up(std::uint64_t type) {
    constexpr std::array<std::uint64_t, 12> kTypes = {
        PROC_SUPER_MAGIC, SYSFS_MAGIC,        CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
        DEBUGFS_MAGIC,    TRACEFS_MAGIC,      SECURITYFS_MAGIC,   BPF_FS_MAGIC,
        NSFS_MAGIC,       DEVPTS_SUPER_MAGIC, EFIVARFS_MAGIC,     0x19800202 /* mqueue */};
    return std::ranges::find(kTypes, type) != kTypes.end();
}

struct Candidate {
    std::string path, point, what;
    bool is_writable = true;
    bool with_mounts = false;  // the container sees what is mounted below
};

bool has_option(const ConfiguredMount& mount, std::string_view option) {
    return std::ranges::find(mount.options, option) != mount.options.end();
}

std::vector<Candidate> candidates(const State& state, const Config& config,
                                  const std::string& log) {
    std::vector<Candidate> all = {{.path = state.rootfs,
                                   .point = "/",
                                   .what = "the root file system",
                                   .is_writable = true,
                                   .with_mounts = true}};
    for (const ConfiguredMount& mount : config.mounts) {
        if (!mount.is_bind()) continue;
        all.push_back({.path = path_from(state.bundle, mount.source),
                       .point = mount.destination,
                       .what = fmt::format("the volume {}", mount.destination),
                       .is_writable = !has_option(mount, "ro"),
                       .with_mounts = has_option(mount, "rbind")});
    }
    if (!log.empty()) {
        all.push_back({.path = log, .point = kLogPoint, .what = "the log"});
    }
    return all;
}

bool lies_in(std::string_view path, std::string_view directory) {
    if (directory == "/") return true;
    return path.starts_with(directory) &&
           (path.size() == directory.size() || path[directory.size()] == '/');
}

// What the container has there, on top of everything.
Result<struct stat> seen_by_container(int root, const Candidate& candidate) {
    const os::UniqueFd file =
        TRY(os::openat2(root, candidate.point, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS));
    return os::fstat(file.get());
}

Result<> check_mounts_below(const Candidate& candidate, const std::vector<proc::Mount>& mounts) {
    for (const proc::Mount& mount : mounts) {
        if (!candidate.with_mounts || mount.point == candidate.path) continue;
        if (!lies_in(mount.point, candidate.path)) continue;
        return fail(
            Error::unsupported(fmt::format("{} {}: {} is mounted on {} in it", candidate.what,
                                           candidate.path, mount.type, mount.point)));
    }
    return {};
}

// Nullopt: nothing that could be sent.
Result<std::optional<FileTree>> look_at(const Candidate& candidate, int root,
                                        const std::vector<proc::Mount>& mounts) {
    const auto unreadable = [&candidate](const Error& error) {
        return fail(Error::unsupported(
            fmt::format("{} cannot be read: {}", candidate.what, error.message())));
    };
    const auto node = os::open(candidate.path, O_PATH);
    if (!node) return unreadable(node.error());
    const struct stat status = TRY(os::fstat(node->get()));
    const bool is_directory = S_ISDIR(status.st_mode);
    if (!is_directory && !S_ISREG(status.st_mode)) return std::nullopt;
    if (is_made_up(TRY(os::file_system_type(node->get())))) return std::nullopt;
    const struct stat inside =
        candidate.point == kLogPoint ? status : TRY(seen_by_container(root, candidate));
    if (inside.st_dev != status.st_dev || inside.st_ino != status.st_ino) {
        return fail(Error::unsupported(
            fmt::format("{} is not what is at {} now", candidate.what, candidate.path)));
    }
    TRY(check_mounts_below(candidate, mounts));
    const auto readable =
        os::open(candidate.path, O_RDONLY | (is_directory ? O_DIRECTORY : O_NONBLOCK));
    if (!readable) return unreadable(readable.error());
    if (is_directory) {
        const auto names = os::list_directory(readable->get(), ".");
        if (!names) return unreadable(names.error());
    }
    FileTree tree{.place = {.path = candidate.path, .is_directory = is_directory},
                  .point = candidate.point,
                  .is_writable = candidate.is_writable,
                  .is_hosts = true,
                  .is_volume = false,
                  .overlay = std::nullopt};
    for (const proc::Mount& mount : mounts) {
        if (mount.point != candidate.path) continue;
        tree.overlay = mount.type == "overlay" ? parse_overlay(mount.super_options) : std::nullopt;
    }
    return tree;
}

bool is_below(const FileTree& tree, const Monitor& monitor, std::string_view option) {
    const std::string directory = monitor.option(option);
    return !directory.empty() && lies_in(tree.place.path, directory);
}

void find_owner(FileTree& tree, const Monitor& monitor) {
    tree.is_volume = is_below(tree, monitor, "--volumepath");
    tree.is_hosts = tree.point != "/" && tree.point != kLogPoint && !tree.is_volume &&
                    !is_below(tree, monitor, "--root") && !is_below(tree, monitor, "--runroot");
}

Json json_of(const FileTree& tree) {
    Json json = {{"path", tree.place.path},
                 {"directory", tree.place.is_directory},
                 {"point", tree.point},
                 {"writable", tree.is_writable},
                 {"host", tree.is_hosts}};
    if (tree.overlay) {
        json["overlay"] = {{"lower", tree.overlay->lower},
                           {"upper", tree.overlay->upper},
                           {"work", tree.overlay->work}};
    }
    return json;
}

Result<> check_path(const std::string& path) {
    const bool is_good = path.starts_with('/') && path.size() > 1 &&
                         path.size() < limits::kTreePathBytesMax &&
                         path.find('\0') == std::string::npos &&
                         path.find("/../") == std::string::npos && !path.ends_with("/..");
    if (is_good) return {};
    return fail(Error::corrupt(fmt::format("\"{}\" is no path of files", path)));
}

Result<FileTree> tree_of(const Json& json) {
    FileTree tree{.place = {.path = TRY(text_in(json, "path")),
                            .is_directory = TRY(flag_in(json, "directory"))},
                  .point = TRY(text_in(json, "point")),
                  .is_writable = TRY(flag_in(json, "writable")),
                  .is_hosts = TRY(flag_in(json, "host")),
                  .is_volume = false,
                  .overlay = std::nullopt};
    TRY(check_path(tree.place.path));
    if (member(json, "overlay") == nullptr) return tree;
    const Json& overlay = *TRY(object_in(json, "overlay"));
    tree.overlay = Overlay{.lower = TRY(texts_in(overlay, "lower")),
                           .upper = TRY(text_in(overlay, "upper")),
                           .work = TRY(text_in(overlay, "work"))};
    for (const std::string& lower : tree.overlay->lower) TRY(check_path(lower));
    TRY(check_path(tree.overlay->upper));
    TRY(check_path(tree.overlay->work));
    return tree;
}

}  // namespace

Result<std::vector<FileTree>> file_trees(const Container& container) {
    const os::UniqueFd root = TRY(open_root(container.state.init));
    const auto mounts = TRY(proc::parse_mounts(TRY(os::read_file("/proc/self/mountinfo"))));
    std::vector<FileTree> trees;
    for (const Candidate& candidate : candidates(container.state, container.config,
                                                 container.monitor ? container.monitor->log : "")) {
        const bool is_there = std::ranges::any_of(trees, [&candidate](const FileTree& tree) {
            return lies_in(candidate.path, tree.place.path);
        });
        if (is_there) continue;
        auto tree = TRY(with_context(look_at(candidate, root.get(), mounts),
                                     fmt::format("container \"{}\"", container.state.id)));
        if (!tree) continue;
        if (container.monitor) find_owner(*tree, *container.monitor);
        trees.push_back(std::move(*tree));
    }
    return trees;
}

std::vector<FileTree> own_trees(const std::vector<FileTree>& trees) {
    std::vector<FileTree> own;
    std::ranges::copy_if(trees, std::back_inserter(own),
                         [](const FileTree& tree) { return !tree.is_hosts && tree.is_writable; });
    return own;
}

std::vector<files::TreePlace> left_places(const std::vector<FileTree>& trees) {
    std::vector<files::TreePlace> left;
    for (const FileTree& tree : trees) {
        if (tree.is_hosts || tree.is_volume) left.push_back(tree.place);
    }
    return left;
}

std::optional<files::TreePath> find_in(const std::vector<FileTree>& trees, std::string_view path) {
    const FileTree* best = nullptr;
    for (const FileTree& tree : trees) {
        if (!lies_in(path, tree.point)) continue;
        if (best == nullptr || tree.point.size() > best->point.size()) best = &tree;
    }
    if (best == nullptr) return std::nullopt;
    const auto number = static_cast<std::uint32_t>(best - trees.data());
    if (!best->place.is_directory) {
        return files::TreePath(number, best->place.path.substr(best->place.path.rfind('/') + 1));
    }
    std::string_view inside = path.substr(best->point == "/" ? 0 : best->point.size());
    while (inside.starts_with('/')) inside.remove_prefix(1);
    return files::TreePath(number, inside.empty() ? files::kTop : inside);
}

std::string to_json(const std::vector<FileTree>& trees) {
    Json all = Json::array();
    for (const FileTree& tree : trees) all.push_back(json_of(tree));
    return to_text(Json{{"trees", all}});
}

Result<std::vector<FileTree>> file_trees_from_json(std::string_view text,
                                                   const Description& description) {
    constexpr std::string_view kWhat = "the container's files";
    const Json json = TRY(parse_object(text, kWhat));
    const auto allowed =
        candidates(TRY(parse_state(description.state)), TRY(parse_config(description.config)),
                   description.podman ? description.podman->log : "");
    std::vector<FileTree> trees;
    for (const Json& entry : *TRY(with_context(objects_in(json, "trees"), kWhat))) {
        FileTree tree = TRY(with_context(tree_of(entry), kWhat));
        const bool is_allowed = std::ranges::any_of(allowed, [&tree](const Candidate& candidate) {
            return candidate.path == tree.place.path && candidate.point == tree.point;
        });
        if (!is_allowed || trees.size() == limits::kTreesMax) {
            return fail(
                Error::corrupt(fmt::format("{}: {} is none of them", kWhat, tree.place.path)));
        }
        trees.push_back(std::move(tree));
    }
    return trees;
}

std::optional<Overlay> parse_overlay(std::string_view options) {
    Overlay overlay;
    std::string lower;
    for (std::string_view rest = options; !rest.empty();) {
        const std::string_view option = rest.substr(0, rest.find(','));
        rest.remove_prefix(std::min(rest.size(), option.size() + 1));
        const auto value = [&option](std::string_view key) -> std::optional<std::string> {
            if (!option.starts_with(key)) return std::nullopt;
            return std::string(option.substr(key.size()));
        };
        if (const auto found = value("lowerdir=")) lower = *found;
        if (const auto found = value("upperdir=")) overlay.upper = *found;
        if (const auto found = value("workdir=")) overlay.work = *found;
    }
    // Escapes and layers of data only.
    if (lower.find('\\') != std::string::npos || lower.find("::") != std::string::npos) return {};
    for (std::string_view rest = lower; !rest.empty();) {
        const std::string_view layer = rest.substr(0, rest.find(':'));
        rest.remove_prefix(std::min(rest.size(), layer.size() + 1));
        overlay.lower.emplace_back(layer);
    }
    const auto absolute = [](const std::string& path) { return path.starts_with('/'); };
    if (overlay.lower.empty() || !std::ranges::all_of(overlay.lower, absolute) ||
        !absolute(overlay.upper) || !absolute(overlay.work)) {
        return std::nullopt;
    }
    return overlay;
}

}  // namespace ferry::container
