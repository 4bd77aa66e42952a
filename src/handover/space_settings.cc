#include "handover/space_settings.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "base/limits.h"
#include "handover/device_settings.h"
#include "os/fd.h"

namespace ferry::handover {
namespace {

constexpr const char* kRoot = "/proc/sys/net";
// net/ipv6/conf/DEVICE/NAME
constexpr int kDepthMax = 4;
constexpr std::size_t kPathBytesMax = 128;
constexpr std::size_t kValueBytesMax = 4096;  // proc(5): a page
// Unset it cannot be read (EIO); set, it must not be known elsewhere (RFC 7217).
constexpr std::string_view kSecret = "/stable_secret";

bool is_device_address_generation(std::string_view path) {
    return path.starts_with("ipv6/conf/") && path.ends_with("/addr_gen_mode") &&
           path != "ipv6/conf/all/addr_gen_mode" && path != "ipv6/conf/default/addr_gen_mode";
}

Result<std::string> read_value(int root, const std::string& path) {
    auto text = TRY(os::read_file(root, path));
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
}

Result<> read_entry(int root, const std::string& path, std::vector<Setting>& into) {
    if (is_device_address_generation(path)) return {};
    auto value = read_value(root, path);
    if (path.ends_with(kSecret)) {
        if (!value) return {};
        return fail(
            Error::unsupported(fmt::format("net/{}: a secret for stable addresses is set", path)));
    }
    if (!value) return fail(std::move(value.error()));
    if (into.size() == limits::kIdentityEntriesMax) {
        return fail(Error::limit("too many settings under /proc/sys/net"));
    }
    into.push_back({.key = path, .value = std::move(*value)});
    if (!is_valid_space_setting(into.back())) {
        return fail(Error::unsupported(fmt::format("net/{} has a value of several lines", path)));
    }
    return {};
}

Result<> read_below(int root, const std::string& directory, int depth, std::vector<Setting>& into) {
    auto names = TRY(os::list_directory(root, directory.empty() ? "." : directory));
    std::ranges::sort(names);
    for (const std::string& name : names) {
        const std::string path = directory.empty() ? name : directory + "/" + name;
        const auto status = os::fstatat(root, path);
        if (!status && status.error().code() == ENOENT) continue;  // A device has gone.
        if (!status) return fail(status.error());
        if (S_ISDIR(status->st_mode)) {
            if (depth < kDepthMax) TRY(read_below(root, path, depth + 1, into));
            continue;
        }
        constexpr mode_t kBoth = S_IRUSR | S_IWUSR;
        if ((status->st_mode & kBoth) == kBoth) TRY(read_entry(root, path, into));
    }
    return {};
}

Result<os::UniqueFd> open_root() {
    return os::open(kRoot, O_RDONLY | O_DIRECTORY);
}

}  // namespace

bool is_valid_space_setting(const Setting& setting) {
    const std::string_view path = setting.key;
    const bool clean = std::ranges::all_of(path, [](char c) { return c > ' ' && c <= '~'; });
    if (!clean || path.empty() || path.size() > kPathBytesMax || path.starts_with('/'))
        return false;
    const std::string framed = fmt::format("/{}/", path);
    if (framed.contains("//") || framed.contains("/../") || framed.contains("/./")) return false;
    return setting.value.size() <= kValueBytesMax && std::ranges::all_of(setting.value, [](char c) {
               return c == '\t' || (c >= ' ' && c <= '~');
           });
}

Result<std::vector<Setting>> read_space_settings() {
    std::vector<Setting> settings;
    const auto root = TRY(open_root());
    TRY(read_below(root.get(), "", 1, settings));
    return settings;
}

Result<> write_space_settings(const std::vector<Setting>& settings) {
    const auto root = TRY(open_root());
    for (const Setting& setting : settings) {
        if (!is_valid_space_setting(setting)) {
            return fail(Error::corrupt(fmt::format("network setting '{}'", setting.key)));
        }
        const auto current = read_value(root.get(), setting.key);
        if (!current && current.error().code() == ENOENT) continue;
        if (current && *current == setting.value) continue;
        TRY(with_context(os::write_file(root.get(), setting.key, setting.value + "\n"),
                         fmt::format("set net/{} to '{}'", setting.key, setting.value)));
    }
    return {};
}

}  // namespace ferry::handover
