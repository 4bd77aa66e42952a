#include "handover/device_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "os/fd.h"

namespace ferry::handover {
namespace {

constexpr std::array kCarried = {
    "ipv4/accept_local",     "ipv4/accept_redirects", "ipv4/accept_source_route",
    "ipv4/arp_accept",       "ipv4/arp_announce",     "ipv4/arp_filter",
    "ipv4/arp_ignore",       "ipv4/arp_notify",       "ipv4/forwarding",
    "ipv4/proxy_arp",        "ipv4/route_localnet",   "ipv4/rp_filter",
    "ipv4/secure_redirects", "ipv4/send_redirects",   "ipv4/shared_media",
    "ipv4/src_valid_mark",   "ipv6/accept_dad",       "ipv6/accept_ra",
    "ipv6/accept_redirects", "ipv6/addr_gen_mode",    "ipv6/autoconf",
    "ipv6/dad_transmits",    "ipv6/disable_ipv6",     "ipv6/forwarding",
    "ipv6/hop_limit",        "ipv6/ndisc_notify",     "ipv6/use_tempaddr",
};

// A decimal number that fits in an int.
constexpr std::size_t kValueCharsMax = 11;

std::string path_of(const std::string& device, std::string_view key) {
    const auto slash = key.find('/');
    return fmt::format("/proc/sys/net/{}/conf/{}/{}", key.substr(0, slash), device,
                       key.substr(slash + 1));
}

// Absent: this kernel has no such setting (or no IPv6).
Result<std::string> read_value(const std::string& device, std::string_view key) {
    auto text = TRY(os::read_file(path_of(device, key)));
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
}

}  // namespace

bool is_valid_setting(const Setting& setting) {
    if (std::ranges::find(kCarried, std::string_view(setting.key)) == kCarried.end()) return false;
    std::string_view digits = setting.value;
    if (digits.starts_with('-')) digits.remove_prefix(1);
    // Applied over netlink, where it is one byte of few values.
    if (setting.key == kAddressGeneration && digits.size() != 1) return false;
    return !digits.empty() && digits.size() < kValueCharsMax &&
           std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; });
}

Result<std::vector<Setting>> read_device_settings(const std::string& device) {
    std::vector<Setting> settings;
    for (const char* key : kCarried) {
        auto value = read_value(device, key);
        if (!value && value.error().code() == ENOENT) continue;
        if (!value) return fail(std::move(value.error()));
        Setting setting = {.key = key, .value = std::move(*value)};
        if (is_valid_setting(setting)) settings.push_back(std::move(setting));
    }
    return settings;
}

Result<> write_device_settings(const std::string& device, const std::vector<Setting>& settings) {
    for (const Setting& setting : settings) {
        if (!is_valid_setting(setting)) {
            return fail(Error::corrupt(fmt::format("device setting '{}'", setting.key)));
        }
        const auto current = read_value(device, setting.key);
        if (!current && current.error().code() == ENOENT) continue;
        if (current && *current == setting.value) continue;
        TRY(os::write_file(os::kCwd, path_of(device, setting.key), setting.value));
    }
    return {};
}

}  // namespace ferry::handover
