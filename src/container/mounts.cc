#include "container/mounts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

namespace ferry::container {
namespace {

using Stack = std::vector<const proc::Mount*>;

// By place; what lies on top comes last.
std::map<std::string, Stack> by_point(const std::vector<proc::Mount>& mounts) {
    std::map<std::string, Stack> points;
    for (const proc::Mount& mount : mounts) points[mount.point].push_back(&mount);
    return points;
}

bool is_from_outside(const std::string& point, const Config& config) {
    return point == "/" || std::ranges::any_of(config.mounts, [&](const ConfiguredMount& mount) {
               return mount.is_bind() && mount.destination == point;
           });
}

// What the runtime hides or protects exists on one kernel and not on another.
bool depends_on_kernel(const std::string& point, const Config& config) {
    return std::ranges::find(config.protected_paths, point) != config.protected_paths.end();
}

// The options that a process notices; those of access times are the host's.
std::string restrictions(const proc::Mount& mount) {
    constexpr std::array kNoticed = {"ro", "nosuid", "nodev", "noexec"};
    std::vector<std::string> found;
    for (const char* option : kNoticed) {
        if (mount.has_option(option)) found.emplace_back(option);
    }
    return found.empty() ? "rw" : fmt::format("{}", fmt::join(found, ","));
}

std::string named(const proc::Mount& mount) {
    return fmt::format("mount {} ({})", mount.point, mount.type);
}

// Empty where they agree.
std::string difference(const proc::Mount& original, const proc::Mount& created, bool from_outside) {
    if (restrictions(original) != restrictions(created)) {
        return fmt::format("{} was remounted: it is {} there and {} here", named(original),
                           restrictions(original), restrictions(created));
    }
    if (from_outside) return {};
    if (original.type != created.type) {
        return fmt::format("{} is {} here", named(original), created.type);
    }
    if (original.type.starts_with("cgroup")) return {};
    if (original.root != created.root) {
        return fmt::format("{} shows {} of its file system there and {} here", named(original),
                           original.root, created.root);
    }
    if (original.super_options != created.super_options) {
        return fmt::format("{} was remounted: it has {} there and {} here", named(original),
                           original.super_options, created.super_options);
    }
    return {};
}

// "version 1", "version 2", "versions 1 and 2", or nothing.
std::string control_groups_in(const std::vector<proc::Mount>& mounts) {
    const auto has = [&mounts](std::string_view type) {
        return std::ranges::find(mounts, type, &proc::Mount::type) != mounts.end();
    };
    const bool one = has("cgroup"), two = has("cgroup2");
    if (one && two) return "versions 1 and 2";
    if (!one && !two) return "no version";
    return one ? "version 1" : "version 2";
}

}  // namespace

Result<> compare_mounts(const std::vector<proc::Mount>& original,
                        const std::vector<proc::Mount>& created, const Config& config) {
    if (control_groups_in(original) != control_groups_in(created)) {
        return fail(Error::unsupported(
            fmt::format("it sees the control groups of its host (a mount of type cgroup in its "
                        "configuration), which are of {} there and of {} here",
                        control_groups_in(original), control_groups_in(created))));
    }
    const auto there = by_point(original);
    const auto here = by_point(created);
    std::vector<std::string> differences;
    for (const auto& [point, stack] : there) {
        const auto found = here.find(point);
        const std::size_t have = found == here.end() ? 0 : found->second.size();
        for (std::size_t i = 0; i < std::min(have, stack.size()); ++i) {
            const bool from_outside = i == 0 && is_from_outside(point, config);
            differences.push_back(difference(*stack[i], *found->second[i], from_outside));
        }
        if (have == 0 && depends_on_kernel(point, config)) continue;
        for (std::size_t i = have; i < stack.size(); ++i) {
            differences.push_back(
                fmt::format("{} was made inside of the container and is not in its configuration",
                            named(*stack[i])));
        }
    }
    for (const auto& [point, stack] : here) {
        const auto found = there.find(point);
        const std::size_t have = found == there.end() ? 0 : found->second.size();
        if (have >= stack.size() || (have == 0 && depends_on_kernel(point, config))) continue;
        differences.push_back(
            fmt::format("{} was taken away inside of the container", named(*stack[have])));
    }
    std::erase(differences, std::string());
    if (differences.empty()) return {};
    return fail(Error::unsupported(fmt::format("{}", fmt::join(differences, "; "))));
}

std::vector<proc::Mount> own_tmpfs(const std::vector<proc::Mount>& mounts, const Config& config) {
    std::vector<proc::Mount> own;
    for (const auto& [point, stack] : by_point(mounts)) {
        const proc::Mount& mount = *stack.back();
        const bool writable = !mount.has_option("ro") && !mount.super_options.starts_with("ro");
        if (mount.type != "tmpfs" || mount.root != "/" || !writable) continue;
        if (is_from_outside(point, config)) continue;
        const bool is_there = std::ranges::any_of(own, [&mount](const proc::Mount& other) {
            return other.device_major == mount.device_major &&
                   other.device_minor == mount.device_minor;
        });
        if (!is_there) own.push_back(mount);
    }
    return own;
}

}  // namespace ferry::container
